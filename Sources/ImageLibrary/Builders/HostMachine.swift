import Glibc
import StationCore

/// What kind of machine this host is.
package enum HostMachine {
    /// `x86_64`. Corresponds to `uname(2)`.
    package static let name: String = {
        var names = utsname()
        guard uname(&names) == 0 else { return "" }
        return withUnsafeBytes(of: names.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }()

    /// Image Builders are programs, and OpenWrt makes them for one kind of host. One may be here all the same, from a backup.
    /// - Throws: `builder_host_unsupported`.
    static func requireBuilders(_ machine: String = name) throws(StationError) {
        guard machine != "x86_64" else { return }
        throw StationError(
            "builder_host_unsupported",
            "OpenWrt's Image Builder runs on x86_64 hosts only, and this is \(machine.printable(limit: 30))",
            remedy: "build the image on an x86_64 host, and: stationctl image import FILE")
    }
}
