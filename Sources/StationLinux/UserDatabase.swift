import Glibc
import StationCore

/// Users and groups by name and number. Blocks where the host asks a directory service.
package enum UserDatabase {
    /// The number of a group; nil when there is none of that name. Corresponds to `getgrnam_r(3)`.
    package static func groupID(named name: String) -> UInt32? {
        var entry = group()
        var found: UnsafeMutablePointer<group>?
        var buffer = [CChar](repeating: 0, count: 64 * 1024)
        guard getgrnam_r(name, &entry, &buffer, buffer.count, &found) == 0, found != nil else { return nil }
        return entry.gr_gid
    }

    /// The number of a user; nil when there is none of that name. Corresponds to `getpwnam_r(3)`.
    package static func userID(named name: String) -> UInt32? {
        var entry = passwd()
        var found: UnsafeMutablePointer<passwd>?
        var buffer = [CChar](repeating: 0, count: 16 * 1024)
        guard getpwnam_r(name, &entry, &buffer, buffer.count, &found) == 0, found != nil else { return nil }
        return entry.pw_uid
    }

    /// The name of a user; nil when there is none with that number. Corresponds to `getpwuid_r(3)`.
    package static func userName(_ userID: UInt32) -> String? {
        var entry = passwd()
        var found: UnsafeMutablePointer<passwd>?
        var buffer = [CChar](repeating: 0, count: 16 * 1024)
        return buffer.withUnsafeMutableBufferPointer { space in
            guard let base = space.baseAddress,
                getpwuid_r(userID, &entry, base, space.count, &found) == 0, found != nil,
                let name = entry.pw_name
            else { return nil }
            return String(cString: name).printable(limit: 40)
        }
    }
}
