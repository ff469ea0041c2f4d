import StationCore
import StationTestSupport
import Testing

@Suite("How slots do")
struct SlotStatisticsTests {
    private static func slot(
        _ name: String, jobs: Int = 0, failed: Int = 0, speeds: [Double] = []
    ) throws -> SlotStatistics {
        let samples =
            speeds.map { SlotStatistics.Sample(hasPassed: true, bytesPerSecond: $0) }
            + (0..<jobs).map { SlotStatistics.Sample(hasPassed: $0 >= failed) }
        return SlotStatistics(slot: try SlotName(name), samples: samples)
    }

    @Test(
        "a slot that fails too often among the others is named, and only when chance is ruled out",
        arguments: [
            // failed of jobs here, failed of jobs elsewhere
            (10, 50, 8, 200, "five times"), (5, 20, 0, 50, "the others do not"), (7, 20, 3, 100, "twelve times"),
            (5, 20, 1, 100, "25 times"),
            (30, 100, 10, 200, "six times"), (4, 20, 0, 200, nil), (5, 19, 0, 200, nil), (5, 20, 0, 49, nil),
            (5, 50, 8, 200, nil), (5, 20, 30, 200, nil), (20, 200, 50, 500, nil), (0, 200, 0, 200, nil),
            (100, 100, 200, 200, nil),
        ] as [(Int, Int, Int, Int, String?)])
    func failures(failed: Int, jobs: Int, otherFailed: Int, otherJobs: Int, words: String?) throws {
        let half = otherJobs / 2
        let all = [
            try Self.slot("slot3", jobs: jobs, failed: failed),
            try Self.slot("slot1", jobs: half, failed: min(half, otherFailed)),
            // The rest elsewhere, in a slot of its own.
            SlotStatistics(
                slot: try SlotName("slot2"),
                samples: (0..<(otherJobs - half)).map {
                    SlotStatistics.Sample(hasPassed: $0 >= max(0, otherFailed - half))
                }),
        ]
        let notes = SlotStatistics.notes(all)
        let found = notes[try SlotName("slot3")]?.first
        #expect(found?.code == (words == nil ? nil : "slot_failing"))
        if let words { #expect(found?.message.contains(words) == true, "\(found?.message ?? "")") }
    }

    @Test("a slot alone is compared with nobody")
    func alone() throws {
        #expect(SlotStatistics.notes([try Self.slot("slot1", jobs: 100, failed: 100)]).isEmpty)
    }

    @Test(
        "a slot that has become slow is named, by its last five jobs",
        arguments: [
            ([12, 12, 12, 12, 12], "a third"), ([3, 3, 3, 3, 3], "1/12"), ([17, 17, 17, 17, 17], "less than half"),
            ([18, 18, 18, 18, 18], nil), ([12, 12, 36, 36, 36], nil), ([12, 12, 12, 36, 36], "a third"),
        ] as [([Double], String?)])
    func speeds(recent: [Double], words: String?) throws {
        let slot = try Self.slot("slot3", speeds: (recent + Array(repeating: 36, count: 20)).map { $0 * 1e6 })
        let note = SlotStatistics.notes([slot])[slot.slot]?.first
        #expect(note?.code == (words == nil ? nil : "slot_slow"))
        if let words { #expect(note?.message.contains("at \(words) of its usual speed") == true) }
        #expect(note?.message.contains("USB 2") != true)
    }

    @Test("a slot that was faster than USB 2 can be, and sits on it now, is told so")
    func usb2() throws {
        let slot = try Self.slot(
            "slot3", speeds: (Array(repeating: 30, count: 5) + Array(repeating: 90, count: 20)).map { $0 * 1e6 })
        let note = SlotStatistics.notes([slot], places: [slot.slot: Samples.usbPlace])[slot.slot]?.first
        #expect(note?.message.contains("(it came up as USB 2)") == true)
        #expect(note?.remedy.contains("cable") == true)
        let fast = Place.usb(controller: "pci0000:00/0000:00:04.0", hubSpeed: 5000, ports: "2", lun: 0)
        let other = SlotStatistics.notes([slot], places: [slot.slot: fast])[slot.slot]?.first
        #expect(other?.message.contains("USB 2") == false)
    }

    @Test("too few speeds are no speed")
    func fewSpeeds() throws {
        let slot = try Self.slot("slot3", speeds: Array(repeating: 1, count: 4) + Array(repeating: 36, count: 20))
        #expect(slot.recentBytesPerSecond == nil && SlotStatistics.notes([slot]).isEmpty)
        // What is usual, for the cards to come, shows sooner.
        #expect(slot.usualBytesPerSecond == 36)
        #expect(try Self.slot("slot3", speeds: [1, 2, 3, 4]).usualBytesPerSecond == nil)
        #expect(try Self.slot("slot3", speeds: [1, 2, 3, 4, 5]).usualBytesPerSecond == 3)
    }

    @Test("only a job that passed and took a second has a speed")
    func measured() {
        var report = JobReport(.passed)
        report.bytesWritten = 30
        report.bytesVerified = 30
        report.writeSeconds = 1
        report.verifySeconds = 1
        #expect(SlotStatistics.bytesPerSecond(report) == 30)
        report.verdict = .failed(.writeError)
        #expect(SlotStatistics.bytesPerSecond(report) == nil)
        report.verdict = .passed
        report.bytesUnchanged = 1
        #expect(SlotStatistics.bytesPerSecond(report) == nil)
        report.bytesUnchanged = 0
        report.writeSeconds = 0.1
        report.verifySeconds = 0.8
        #expect(SlotStatistics.bytesPerSecond(report) == nil)
    }

    @Test("a writer that says it moved more than can be counted ends nothing")
    func uncountable() {
        var report = JobReport(.passed)
        report.bytesWritten = .max
        report.bytesVerified = 30
        report.writeSeconds = 1
        #expect(SlotStatistics.bytesPerSecond(report) ?? 0 > 1e19)
    }

    @Test("no more than the window counts, the newest first")
    func window() throws {
        let samples = (0..<500).map { SlotStatistics.Sample(hasPassed: $0 < 200) }
        let slot = SlotStatistics(slot: try SlotName("slot1"), samples: samples)
        #expect(slot.jobCount == 200 && slot.failedCount == 0)
    }
}
