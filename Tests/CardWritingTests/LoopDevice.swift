import Glibc
import StationLinux

/// A real block device over a sparse file, where this machine lets us make one: with root and /dev/loop-control.
final class LoopDevice: Sendable {
    let name: String
    private let directory: String

    static let isAvailable = geteuid() == 0 && access("/dev/loop-control", R_OK | W_OK) == 0

    /// - Parameters:
    ///   - setUp: shell lines that fill the file `$IMAGE` before it is attached.
    ///   - options: for losetup.
    init(byteCount: Int = 16 << 20, setUp: String = "true", options: String = "") throws {
        let output = try Shell.run(
            """
            set -e
            DIRECTORY=$(mktemp -d /tmp/flashing-station-loop-XXXXXX)
            IMAGE=$DIRECTORY/image
            truncate -s \(byteCount) $IMAGE
            { \(setUp); } >/dev/null 2>&1
            echo $DIRECTORY
            losetup --find --show \(options) $IMAGE
            """)
        let lines = output.split(separator: "\n").map(String.init)
        guard lines.count == 2, lines[1].hasPrefix("/dev/loop") else {
            throw SystemError("losetup", output, number: EINVAL)
        }
        directory = lines[0]
        name = String(lines[1].dropFirst(5))
    }

    deinit { _ = try? Shell.run("losetup -d /dev/\(name); rm -rf \(directory)") }

    var path: String { "/dev/\(name)" }
    var number: String? { SmallFile.attribute("/sys/class/block/\(name)/dev") }
    var sequence: UInt64? { SmallFile.attribute("/sys/class/block/\(name)/diskseq").flatMap { UInt64($0) } }

    /// The file is made longer, and the device with it: the same device with another size.
    func grow() throws { _ = try Shell.run("set -e; truncate -s +1M \(directory)/image; losetup -c \(path)") }
}

/// Commands of the host.
enum Shell {
    /// Starts lines with sh, whose descriptor 3 is the other end of the socket.
    static func start(_ lines: String) throws -> (ChildProcess, LocalSocket) {
        let (ours, theirs) = try LocalSocket.pair(.stream)
        let child = try ChildProcess(
            "/bin/sh", ["-c", "PATH=/usr/sbin:/sbin:$PATH\n" + lines], descriptors: [theirs.descriptor])
        return (child, ours)
    }

    /// Runs lines with sh.
    /// - Returns: what they write.
    /// - Throws: when they fail.
    static func run(_ lines: String) throws -> String {
        let (child, ours) = try start("exec 1>&3 2>&3\n" + lines)
        let bytes = try SmallFile.read(ours.descriptor, path: "sh", limit: 1 << 20)
        let text = String(decoding: bytes, as: UTF8.self)
        guard child.wait() == .code(0) else { throw SystemError("sh", text, number: EINVAL) }
        return text
    }
}
