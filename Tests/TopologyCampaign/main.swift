import CardWriting
import FoundationEssentials
import Glibc
import StationCore
import StationLinux
import StationTestSupport

// Hosts at random: which of their disks would be written, against what is known of each because it was made so.
//
//   topology-campaign --count N --seed S [--card DEVICE --labelled DEVICE,… [--without CHECK]]
//
// Host number I has the seed S + I. With two block devices of one size, the second with a protected label, the real guard is
// asked about every disk, too; it opens them for reading only. JSON on standard output; ends with 1 when something is wrong.

struct Tally: Codable {
    var topologies = 0
    var disks = 0
    /// Disks that the guard was asked about, and those that it let through.
    var guarded = 0
    var written = 0
    /// Of the first few, with the host's seed.
    var wrongDisks: [String] = []
    var refusedCards: [String] = []
    var wrongUses: [String] = []
    var wrongDiskCount = 0
    // With those that no host had: they are what is to be seen.
    var layers = Dictionary(uniqueKeysWithValues: RandomHost.Layer.allCases.map { ($0.rawValue, 0) })
    var flaws = Dictionary(uniqueKeysWithValues: RandomHost.Flaw.allCases.map { ($0.rawValue, 0) })

    private static let shown = 20

    mutating func note(_ findings: RandomHost.Findings, seed: UInt64, by judge: String) {
        wrongDiskCount += findings.wrongDisks.count
        for (found, list) in [
            (findings.wrongDisks, \Tally.wrongDisks), (findings.refusedCards, \.refusedCards),
            (findings.wrongUses, \.wrongUses),
        ] {
            let room = max(0, Self.shown - self[keyPath: list].count)
            self[keyPath: list] += found.prefix(room).map { "\(seed): \($0) (\(judge))" }
        }
    }
}

/// The real guard, with a real device behind each disk of a host that can be opened.
struct GuardedHost {
    let card: BlockDevice
    let labelled: [BlockDevice]
    let checks: Set<Check>

    init(card: String, labelled: [Substring], checks: Set<Check>) throws {
        self.card = try BlockDevice(reading: card)
        self.labelled = try labelled.map { try BlockDevice(reading: String($0)) }
        self.checks = checks
    }

    var byteCount: UInt64 { get throws { try card.identity().byteCount } }

    /// - Returns: whether the guard lets the disk through.
    func isLetThrough(_ disk: RandomHost.Disk, of host: RandomHost) throws -> Bool {
        let name = disk.record.name
        let device =
            disk.flaw == .protectedLabel ? labelled[Int(disk.record.deviceSequence ?? 0) % labelled.count] : card
        let number = try device.descriptor.status().deviceNumber
        let places = [disk.record.place, disk.record.otherSide]
        let slot = try host.slots.first { places.contains($0.place) }?.name ?? SlotName("slot1")
        let records = host.disks.map(\.record)
        let sources = GuardSources(
            slots: { () throws(StationError) in host.slots }, record: { name in records.first { $0.name == name } },
            number: { _ in disk.flaw == .otherNode ? "1:1" : number }, disks: { records },
            topology: { () throws(StationError) in host.topology },
            hold: { (path: String) throws(SystemError) in
                if disk.isClaimed { throw SystemError("open", path, number: EBUSY) }
                return try BlockDevice(holding: device.path)
            })
        let sequence = try device.identity().sequence
        let request = JobRequest(
            jobID: JobID(), disk: name, deviceSequence: disk.flaw == .otherMedium ? sequence + 1 : sequence,
            content: Content(byteCount: 1000, sha256: try Samples.digest("a")))
        let cardGuard = Guard(
            slot: slot, protectedLabels: ["OURBOX_DATA"], sources: sources, checks: checks, busyPatience: 0)
        return (try? cardGuard.hold(request)) != nil
    }

    func findings(_ host: RandomHost, _ tally: inout Tally) throws -> RandomHost.Findings {
        var findings = RandomHost.Findings()
        for disk in host.disks where disk.record.place != nil {
            let isWritten = try isLetThrough(disk, of: host)
            let mustNot = disk.flaw.isSeenByGuard || host.isUsed(disk.record.name)
            tally.guarded += 1
            if isWritten { tally.written += 1 }
            if isWritten, mustNot { findings.wrongDisks.append("\(disk.record.name), \(disk.flaw)") }
            if !isWritten, disk.flaw == .none, !mustNot { findings.refusedCards.append(disk.record.name) }
        }
        return findings
    }
}

var arguments: [String: String] = [:]
let words = Array(CommandLine.arguments.dropFirst())
for index in stride(from: 0, to: words.count - 1, by: 2) { arguments[words[index]] = words[index + 1] }
guard words.count % 2 == 0, let count = arguments["--count"].flatMap({ UInt64($0) }),
    let seed = arguments["--seed"].flatMap({ UInt64($0) })
else {
    print("usage: topology-campaign --count N --seed S [--card DEVICE --labelled DEVICE,… [--without CHECK]]")
    exit(2)
}

do {
    var checks = Set<Check>.all
    if let name = arguments["--without"] {
        guard let check = Check(rawValue: name) else { fatalError("there is no check \(name)") }
        checks.remove(check)
    }
    var guarded: GuardedHost?
    if let card = arguments["--card"], let labelled = arguments["--labelled"] {
        guarded = try GuardedHost(card: card, labelled: labelled.split(separator: ","), checks: checks)
    }
    let byteCount = try guarded?.byteCount ?? 8_000_000_000
    var tally = Tally()
    for index in 0..<count {
        let host = try RandomHost(seed: seed &+ index, cardByteCount: byteCount)
        tally.topologies += 1
        tally.disks += host.disks.count
        for (layer, number) in host.layers { tally.layers[layer.rawValue, default: 0] += number }
        for disk in host.disks { tally.flaws[disk.flaw.rawValue, default: 0] += 1 }
        tally.note(host.findings(), seed: seed &+ index, by: "station")
        if let guarded { tally.note(try guarded.findings(host, &tally), seed: seed &+ index, by: "guard") }
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    print(String(decoding: try encoder.encode(tally), as: UTF8.self))
    exit(tally.wrongDisks.isEmpty && tally.refusedCards.isEmpty && tally.wrongUses.isEmpty ? 0 : 1)
} catch {
    print("topology-campaign: \(error)")
    exit(2)
}
