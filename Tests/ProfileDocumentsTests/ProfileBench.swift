import Glibc
import ProfileDocuments
import StationCore
import StationLinux
import StationTestSupport

/// What the tests of profiles share: a good profile to spoil, and folders to put files into.
enum ProfileBench {
    static let required = [
        ("profile_id", "home.ap"), ("name", "An access point"), ("device_id", "ap-1"), ("openwrt_release", "24.10.2"),
        ("target", "ath79"), ("subtarget", "generic"), ("imagebuilder_profile", "tplink_archer-c6-v3"),
    ]

    /// A good profile with these members besides, or instead.
    static func document(_ members: [(String, DocumentValue)] = [], without absent: String? = nil) -> DocumentValue {
        var table = required.filter { $0.0 != absent }.map { DocumentValue.Member($0.0, .text($0.1)) }
        for (key, value) in members {
            table.removeAll { $0.key == key }
            table.append(DocumentValue.Member(key, value))
        }
        return .table(table)
    }

    /// Written in a format, and read again.
    static func reading(_ document: DocumentValue, as format: DocumentFormat = .yaml) throws -> ProfileReading {
        ProfileReader.read(try format.read(Array(format.write(document).utf8)))
    }

    static func reading(_ text: String, as format: DocumentFormat) throws -> ProfileReading {
        ProfileReader.read(try format.read(Array(text.utf8)))
    }

    /// A good profile in YAML with some lines behind it.
    static func yaml(_ lines: String) throws -> ProfileReading {
        try reading(DocumentFormat.yaml.write(document()) + lines, as: .yaml)
    }

    /// Codes and fields of what is wrong with a profile of these members.
    static func violations(
        _ members: [(String, DocumentValue)], without absent: String? = nil, as format: DocumentFormat = .yaml
    ) throws -> [String] {
        try reading(document(members, without: absent), as: format).violations.map { "\($0.code) \($0.field)" }
    }

    static func profile(_ members: [(String, DocumentValue)] = []) throws -> Profile {
        let reading = try reading(document(members))
        guard let profile = reading.profile else { throw reading.error }
        return profile
    }

    /// The project's folder.
    static let project = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()
    static let genuine = project + "/Tests/ProfileDocumentsTests/Genuine"
}

/// A folder of a test, gone at its end.
final class TemporaryFolder {
    let path: String

    init() throws {
        var name = Array("/tmp/flashing-station-test-XXXXXX".utf8CString)
        guard mkdtemp(&name) != nil else { throw SystemError("mkdtemp", "/tmp") }
        path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { Self.remove(path) }

    @discardableResult
    func write(_ name: String, _ text: String, mode: UInt32 = 0o644) throws -> String {
        try folder(name.split(separator: "/").dropLast().joined(separator: "/"))
        let file = "\(path)/\(name)"
        try SmallFile.replace(file, with: text, mode: mode)
        return file
    }

    func folder(_ name: String) throws {
        var folder = path
        for part in name.split(separator: "/") {
            folder += "/\(part)"
            guard mkdir(folder, 0o755) == 0 || errno == EEXIST else { throw SystemError("mkdir", folder) }
        }
    }

    func link(_ name: String, to target: String) throws {
        guard symlink(target, "\(path)/\(name)") == 0 else { throw SystemError("symlink", name) }
    }

    private static func remove(_ path: String) {
        if let status = try? FileStatus(of: path, followingLinks: false), status.kind == .directory {
            for name in SmallFile.names(in: path) ?? [] { remove("\(path)/\(name)") }
            rmdir(path)
        } else {
            unlink(path)
        }
    }
}
