import Foundation
import StationCore
import StationLinux
import Testing

@Suite("configuration: nothing that others could have written, and nothing passed over in silence")
struct ConfigurationFilesTests {
    /// A directory that is gone when the test is over.
    private final class Scratch {
        let path: String

        init() throws {
            path = NSTemporaryDirectory() + "configuration-\(UUID().uuidString.prefix(8))"
            try FileManager.default.createDirectory(
                atPath: "\(path)/station.conf.d", withIntermediateDirectories: true)
            chmod(path, 0o755)
            chmod("\(path)/station.conf.d", 0o755)
        }

        deinit { try? FileManager.default.removeItem(atPath: path) }

        func write(_ name: String, _ text: String, mode: mode_t = 0o644) throws {
            try text.write(toFile: "\(path)/\(name)", atomically: false, encoding: .utf8)
            chmod("\(path)/\(name)", mode)
        }

        func load(ownerID: UInt32 = geteuid()) throws(StationError) -> StationConfiguration {
            try ConfigurationFiles.load(path, ownerID: ownerID)
        }

        func code(ownerID: UInt32 = geteuid()) -> String? {
            do throws(StationError) {
                _ = try load(ownerID: ownerID)
                return nil
            } catch { return error.code }
        }
    }

    @Test("drop-ins come after the file, in the order of their names, and add protected labels")
    func merges() throws {
        let scratch = try Scratch()
        try scratch.write("station.conf", "[Station]\nStuckAfterSec=20\n[Guard]\nProtectedLabels=A\n")
        try scratch.write("station.conf.d/20.conf", "[Station]\nStuckAfterSec=30\n")
        try scratch.write("station.conf.d/10.conf", "[Station]\nStuckAfterSec=25\n[Guard]\nProtectedLabels=B\n")
        try scratch.write("station.conf.d/30.conf.orig", "[Station]\nStuckAfterSec=35\n")
        let configuration = try scratch.load()
        #expect(configuration.stuckAfterSeconds == 30)
        #expect(configuration.protectedLabels.suffix(2) == ["A", "B"])
    }

    @Test("what is not there says nothing")
    func missing() throws {
        #expect(try ConfigurationFiles.load("/nonexistent/\(UUID())") == StationConfiguration())
    }

    @Test(
        "a file or a directory that others may write is an error",
        arguments: [
            "station.conf", "station.conf.d/10.conf", "station.conf.d", ".",
        ])
    func writable(name: String) throws {
        let scratch = try Scratch()
        try scratch.write("station.conf", "[Guard]\nProtectedLabels=A\n")
        try scratch.write("station.conf.d/10.conf", "[Guard]\nProtectedLabels=B\n")
        #expect(scratch.code() == nil)
        let isDirectory = !name.hasSuffix(".conf")
        for bits: mode_t in [0o020, 0o002] {
            chmod("\(scratch.path)/\(name)", (isDirectory ? 0o755 : 0o644) | bits)
            #expect(scratch.code() == "config_untrusted")
        }
    }

    @Test("somebody else's is an error")
    func foreign() throws {
        let scratch = try Scratch()
        try scratch.write("station.conf", "")
        #expect(scratch.code(ownerID: geteuid() + 1) == "config_untrusted")
    }

    @Test("what is there and is no such thing is an error, not nothing")
    func otherKinds() throws {
        let scratch = try Scratch()
        try FileManager.default.removeItem(atPath: "\(scratch.path)/station.conf.d")
        try scratch.write("station.conf.d", "")
        #expect(scratch.code() == "config_untrusted")
        try FileManager.default.removeItem(atPath: "\(scratch.path)/station.conf.d")
        mkfifo("\(scratch.path)/station.conf", 0o644)
        #expect(scratch.code() == "config_untrusted")
    }

    @Test(
        "a wrong key of a section is compared with that section's own",
        arguments: [
            ("ImageBuilder", "StallSek", "StallSec"), ("Build", "Paralel", "Parallel"),
            ("Station", "StopPatience", "StopPatienceSec"),
        ])
    func nearKeys(section: String, key: String, near: String) throws {
        let scratch = try Scratch()
        try scratch.write("station.conf", "[\(section)]\n\(key)=1\n")
        do throws(StationError) {
            _ = try scratch.load()
            Issue.record("\(key) was taken")
        } catch {
            #expect(error.code == "config_key_unknown")
            #expect("\(error)".contains(near))
        }
    }

    @Test("what cannot be read is named, with what to do")
    func unreadable() throws {
        let tree = try Scratch()
        try FileManager.default.createSymbolicLink(
            atPath: "\(tree.path)/station.conf.d/loop.conf", withDestinationPath: "loop.conf")
        do throws(StationError) {
            _ = try tree.load()
            Issue.record("nothing was thrown")
        } catch {
            #expect(error.code == "config_unreadable")
            #expect(error.message.contains("loop.conf is a link that leads to itself") && error.remedy == "remove it")
        }
        unlink("\(tree.path)/station.conf.d/loop.conf")
        try tree.write("station.conf.d/large.conf", String(repeating: "#", count: 2_000_000))
        do throws(StationError) {
            _ = try tree.load()
            Issue.record("nothing was thrown")
        } catch {
            #expect(error.code == "config_unreadable")
            #expect(error.message.contains("large.conf is too large") && error.remedy.contains("remove it"))
        }
    }

    @Test("the file that is installed names every key, with its default")
    func installedFile() throws {
        let project = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: project.appending(path: "packaging/station.conf"), encoding: .utf8)
        let assignment = /^#([A-Z]\w+)=(.*)$/.anchorsMatchLineEndings()
        let keys = text.matches(of: assignment).map { String($0.1) }
        #expect(keys.sorted() == StationConfiguration.keys.sorted())
        let scratch = try Scratch()
        try scratch.write("station.conf", text.replacing(assignment) { "\($0.1)=\($0.2)" })
        #expect(try scratch.load() == StationConfiguration())
    }
}
