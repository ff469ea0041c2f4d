import Foundation
import StationCore
import Testing

@testable import StationLinux

@Suite("What the host uses, as the kernel tells")
struct TopologyReaderTests {
    @Test("takes a list of processes that hides PID 1 for no list of all mounts", arguments: [[], ["1"], ["1", "7"]])
    func hiddenProcesses(visible: [String]) throws {
        let directory = NSTemporaryDirectory() + "flashing-station-proc-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: directory) }
        // As /proc is with hidepid=2: whoever asks sees itself.
        let table = "36 35 8:1 / /mnt rw - ext4 /dev/sda1 rw\n"
        let other = "36 35 8:17 / /srv rw - ext4 /dev/sdb1 rw\n"
        for process in ["self", "4711"] + visible {
            try FileManager.default.createDirectory(
                atPath: "\(directory)/\(process)", withIntermediateDirectories: true)
            try (process == "7" ? other : table).write(
                toFile: "\(directory)/\(process)/mountinfo", atomically: false, encoding: .utf8)
        }
        guard visible.contains("1") else {
            let error = #expect(throws: StationError.self) { try DiskTopology.mounts(in: directory) }
            #expect(error?.code == "topology_unreadable" && error?.remedy.contains("hidepid") == true)
            return
        }
        let targets = try DiskTopology.mounts(in: directory).map(\.target)
        #expect(targets == (visible.contains("7") ? ["/mnt", "/srv"] : ["/mnt"]))
    }
}
