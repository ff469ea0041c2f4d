import Foundation
import StationCore
import StationLinux
import Testing

@Suite("slot directory: only what its owner alone could have written")
struct SlotDirectoryTests {
    /// A directory that is gone when the test is over.
    final class Scratch {
        let path: String
        let me = geteuid()

        init() throws {
            path = NSTemporaryDirectory() + "slots-\(UUID().uuidString.prefix(8))"
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
            chmod(path, 0o755)
        }

        deinit { try? FileManager.default.removeItem(atPath: path) }

        func write(_ name: String, _ text: String, mode: mode_t = 0o644) throws {
            try text.write(toFile: "\(path)/\(name)", atomically: false, encoding: .utf8)
            chmod("\(path)/\(name)", mode)
        }

        func load() -> (declarations: [SlotDeclaration], problems: [StationError]) {
            SlotDirectory.load(path, ownerID: me)
        }

        func codeOfOne(_ name: String, ownerID: UInt32? = nil) -> String? {
            do throws(StationError) {
                _ = try SlotDirectory.load(SlotName(name), in: path, ownerID: ownerID ?? me)
                return nil
            } catch { return error.code }
        }
    }

    private func text(port: Int) -> String {
        "[Slot]\nPlace=usb 480 port \(port) lun 0 at pci0000:00/0000:00:04.0\nReader=0bda:0326 luns 1\n"
    }

    @Test("declarations come in the order of their names, other files are nothing")
    func loads() throws {
        let scratch = try Scratch()
        try scratch.write("slot10.slot", text(port: 10))
        try scratch.write("slot2.slot", text(port: 2))
        try scratch.write("slot2.slot.new", "half a fi")
        try scratch.write("README", "x")
        let (declarations, problems) = scratch.load()
        #expect(declarations.map(\.name.text) == ["slot2", "slot10"])
        #expect(problems.isEmpty)
        #expect(scratch.codeOfOne("slot2") == nil)
    }

    @Test("a place that a file with an error names, too, is no slot's")
    func brokenClaim() throws {
        let scratch = try Scratch()
        try scratch.write("slot1.slot", text(port: 1))
        try scratch.write("slot2.slot", text(port: 1) + "Wype=zero\n")
        try scratch.write("slot3.slot", text(port: 3))
        let (declarations, problems) = scratch.load()
        #expect(declarations.map(\.name.text) == ["slot3"])
        #expect(Set(problems.map(\.code)) == ["config_key_unknown", "slot_ambiguous"])
    }

    @Test("a directory that is not there declares nothing, and a slot without a file is unknown")
    func absent() throws {
        let scratch = try Scratch()
        #expect(SlotDirectory.load(scratch.path + "/none", ownerID: scratch.me).problems.isEmpty)
        try scratch.write("slot1.slot", text(port: 1))
        #expect {
            try SlotDirectory.load(SlotName("slot2"), in: scratch.path, ownerID: scratch.me)
        } throws: { error in
            let error = error as? StationError
            return error?.code == "slot_unknown" && error?.remedy == "did you mean slot1?"
        }
    }

    @Test("a file that its group or others may write is refused", arguments: [0o664, 0o646, 0o666, 0o622] as [mode_t])
    func writable(mode: mode_t) throws {
        let scratch = try Scratch()
        try scratch.write("slot1.slot", text(port: 1), mode: mode)
        try scratch.write("slot2.slot", text(port: 2))
        let (declarations, problems) = scratch.load()
        #expect(declarations.map(\.name.text) == ["slot2"])
        #expect(problems.map(\.code) == ["slot_file_untrusted"])
        #expect(problems.first?.remedy == "chmod 644 \(scratch.path)/slot1.slot")
        #expect(scratch.codeOfOne("slot1") == "slot_file_untrusted")
    }

    @Test("files and a directory of somebody else are refused")
    func owner() throws {
        let scratch = try Scratch()
        try scratch.write("slot1.slot", text(port: 1))
        let other = scratch.me + 1
        #expect(SlotDirectory.load(scratch.path, ownerID: other).problems.map(\.code) == ["slot_file_untrusted"])
        #expect(scratch.codeOfOne("slot1", ownerID: other) == "slot_file_untrusted")
        // Of one file, where this process may give it away.
        guard chown("\(scratch.path)/slot1.slot", other, .max) == 0 else { return }
        #expect(scratch.load().problems.map(\.code) == ["slot_file_untrusted"])
        #expect(scratch.load().declarations.isEmpty)
    }

    @Test("a directory that others may write is refused whole", arguments: [0o775, 0o757, 0o1777] as [mode_t])
    func directory(mode: mode_t) throws {
        let scratch = try Scratch()
        try scratch.write("slot1.slot", text(port: 1))
        chmod(scratch.path, mode)
        let (declarations, problems) = scratch.load()
        #expect(declarations.isEmpty)
        #expect(problems.map(\.code) == ["slot_file_untrusted"])
        #expect(scratch.codeOfOne("slot1") == "slot_file_untrusted")
    }

    @Test("links, pipes and directories are no slot files")
    func kinds() throws {
        let scratch = try Scratch()
        try scratch.write("real", text(port: 1))
        symlink("\(scratch.path)/real", "\(scratch.path)/slot1.slot")
        mkfifo("\(scratch.path)/slot2.slot", 0o644)
        mkdir("\(scratch.path)/slot3.slot", 0o755)
        let (declarations, problems) = scratch.load()
        #expect(declarations.isEmpty)
        #expect(problems.map(\.code) == Array(repeating: "slot_file_untrusted", count: 3))
        let link = scratch.path + "-link"
        symlink(scratch.path, link)
        defer { unlink(link) }
        #expect(SlotDirectory.load(link, ownerID: scratch.me).problems.map(\.code) == ["slot_file_untrusted"])
    }

    @Test(
        "what a file says wrongly is a problem of that file",
        arguments: [
            ("", "slot_file_invalid"), ("[Slot]\nPlace=nowhere\nReader=mmc\n", "place_invalid"),
            ("[Slot]\nColour=red\n", "config_key_unknown"), ("hello\n", "config_syntax"),
            (String(repeating: "#", count: 70_000), "slot_file_unreadable"),
        ])
    func invalid(text: String, code: String) throws {
        let scratch = try Scratch()
        try scratch.write("slot1.slot", text)
        #expect(scratch.load().problems.map(\.code) == [code])
        #expect(scratch.codeOfOne("slot1") == code)
    }

    @Test("a file whose name is no slot's is a problem")
    func badName() throws {
        let scratch = try Scratch()
        try scratch.write("Slot 1.slot", text(port: 1))
        #expect(scratch.load().problems.map(\.code) == ["slot_name_invalid"])
    }

    @Test("a place that is declared twice is a problem, and both stay")
    func ambiguous() throws {
        let scratch = try Scratch()
        try scratch.write("a.slot", text(port: 1))
        try scratch.write("b.slot", text(port: 1))
        try scratch.write("c.slot", text(port: 2))
        let (declarations, problems) = scratch.load()
        #expect(declarations.count == 3)
        #expect(problems.map(\.code) == ["slot_ambiguous"])
        #expect(problems.first?.message.hasPrefix("a and b declare the same place") == true)
    }

    @Test("what is saved is what is loaded, and what is removed is gone")
    func saving() throws {
        let scratch = try Scratch()
        let slot = SlotDeclaration(
            name: try SlotName("slot1"), place: try Place(text: "mmc at platform/soc/fe340000.mmc"), reader: .mmcHost,
            wipe: .zero, atBoot: .write, minimumByteCount: 2_000_000, maximumByteCount: 4_000_000)
        // Also into a directory that is not there yet.
        let directory = scratch.path + "/slots.d"
        try SlotDirectory.save(slot, in: directory, ownerID: scratch.me)
        let status = try FileStatus(of: SlotDirectory.filePath(slot.name, in: directory))
        #expect(status.mode == 0o644)
        #expect(try SlotDirectory.load(slot.name, in: directory, ownerID: scratch.me) == slot)
        try SlotDirectory.remove(slot.name, in: directory)
        #expect { try SlotDirectory.remove(slot.name, in: directory) } throws: {
            ($0 as? StationError)?.code == "slot_unknown"
        }
    }
}
