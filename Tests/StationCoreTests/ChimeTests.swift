import FoundationEssentials
import StationCore
import StationTestSupport
import Testing

@Suite("What is sounded for a slot")
struct ChimeTests {
    /// A slot as the station tells of it, with a job of that number.
    private func slot(_ signal: Signal, job number: Int? = nil, name: String = "slot1") throws -> SlotStatus {
        var status = SlotStatus(SlotMachine(slot: try Samples.slot(name)))
        status.signal = signal
        if let number {
            let digits = String(number)
            let id = String(repeating: "0", count: 32 - digits.count) + digits
            let text = "{\"id\":\"\(id)\",\"image\":\"openwrt\",\"isDryRun\":false}"
            status.job = try JSONDecoder().decode(SlotStatus.Job.self, from: Data(text.utf8))
        }
        return status
    }

    @Test("only what somebody walks over for has a sound")
    func meanings() {
        #expect(Signal.allCases.map(Chime.init) == [nil, nil, nil, .passed, .failed, .help])
    }

    @Test("the three are told apart by number, length and pitch, and the console can play them")
    func tones() {
        #expect(Chime.passed.tones.count == 1)
        #expect(Set(Chime.allCases.map(\.tones.count)).count == 3)
        #expect(Set(Chime.allCases.map { $0.tones[0].hertz }).count == 3)
        for (one, other) in zip(Chime.failed.tones, [Chime.passed, .help].flatMap(\.tones)) {
            #expect(one.hertz < other.hertz && one.milliseconds > other.milliseconds)
        }
        for tone in Chime.allCases.flatMap(\.tones) {
            #expect(tone.hertz > 20 && tone.hertz < 32767 && tone.milliseconds < 2000)
        }
    }

    @Test(
        "what is there at first is taken in without a sound, and stays silent while nothing changes",
        arguments: Signal.allCases)
    func first(signal: Signal) throws {
        var changes = ChimeChanges()
        #expect(changes.hear([try slot(signal, job: 1)]) == [])
        #expect(changes.hear([try slot(signal, job: 1)]) == [])
    }

    @Test("a verdict is sounded once", arguments: [(Signal.passed, Chime.passed), (.failed, .failed), (.help, .help)])
    func once(signal: Signal, chime: Chime) throws {
        var changes = ChimeChanges()
        _ = changes.hear([try slot(.ready)])
        #expect(changes.hear([try slot(.busy, job: 1)]) == [])
        #expect(changes.hear([try slot(signal, job: 1)]) == [chime])
        #expect(changes.hear([try slot(signal, job: 1)]) == [])
        // Out, and in again for a moment: the same job.
        #expect(changes.hear([try slot(.ready)]) == [])
        #expect(changes.hear([try slot(signal, job: 1)]) == [])
        #expect(changes.hear([try slot(.busy, job: 2)]) == [])
        #expect(changes.hear([try slot(signal, job: 2)]) == [chime])
    }

    @Test("a verdict is sounded although nothing was heard of its job before")
    func coalesced() throws {
        var changes = ChimeChanges()
        _ = changes.hear([try slot(.failed, job: 1)])
        #expect(changes.hear([try slot(.failed, job: 2)]) == [.failed])
    }

    @Test("a job that was called for is sounded again for its verdict, but called for only once")
    func stuck() throws {
        var changes = ChimeChanges()
        _ = changes.hear([try slot(.busy, job: 1)])
        #expect(changes.hear([try slot(.help, job: 1)]) == [.help])
        #expect(changes.hear([try slot(.busy, job: 1)]) == [])
        #expect(changes.hear([try slot(.help, job: 1)]) == [])
        #expect(changes.hear([try slot(.passed, job: 1)]) == [.passed])
    }

    @Test("somebody is called for a card that waits, and for an image that could not be built: there is no job")
    func noJob() throws {
        var changes = ChimeChanges()
        _ = changes.hear([try slot(.ready)])
        #expect(changes.hear([try slot(.help)]) == [.help])
        #expect(changes.hear([try slot(.help)]) == [])
        #expect(changes.hear([try slot(.ready)]) == [])
        #expect(changes.hear([try slot(.help)]) == [.help])
    }

    @Test("after the station was away, what has become of the cards meanwhile is silent, and what comes then is not")
    func reconnected() throws {
        var changes = ChimeChanges()
        _ = changes.hear([try slot(.busy, job: 1, name: "slot1"), try slot(.busy, job: 2, name: "slot2")])
        changes.lose()
        #expect(changes.hear([try slot(.passed, job: 1, name: "slot1"), try slot(.busy, job: 2, name: "slot2")]) == [])
        #expect(
            changes.hear([try slot(.passed, job: 1, name: "slot1"), try slot(.failed, job: 2, name: "slot2")]) == [
                .failed
            ])
    }

    @Test("a slot that is declared meanwhile is a first one; several at once are one of each kind")
    func several() throws {
        var changes = ChimeChanges()
        _ = changes.hear([try slot(.busy, job: 1, name: "slot1"), try slot(.busy, job: 2, name: "slot2")])
        let news = changes.hear([
            try slot(.passed, job: 1, name: "slot1"), try slot(.passed, job: 2, name: "slot2"),
            try slot(.help, name: "slot3"),
        ])
        #expect(news == [.passed])
    }
}

@Suite("When it is sounded")
struct ChimeQueueTests {
    /// All that is played, with the moment of each tone.
    private func play(_ queue: inout ChimeQueue, from start: Double = 0) -> [(at: Double, tone: Chime.Tone)] {
        var played: [(at: Double, tone: Chime.Tone)] = []
        while let next = queue.nextAt, played.count < 100 {
            let now = max(start, next)
            guard let tone = queue.next(now: now) else { break }
            played.append((now, tone))
        }
        return played
    }

    @Test("an empty queue is silent and wakes nobody")
    func empty() {
        var queue = ChimeQueue()
        #expect(queue.nextAt == nil && queue.next(now: 5) == nil)
        queue.add([])
        #expect(queue.nextAt == nil && queue.next(now: 5) == nil)
    }

    @Test(
        "the first tone is at once, each other one when the one before has ended and a gap is over",
        arguments: Chime.allCases)
    func spacing(chime: Chime) {
        var queue = ChimeQueue()
        queue.add([chime])
        let played = play(&queue, from: 100)
        #expect(played.map(\.tone) == chime.tones && played[0].at == 100)
        for (one, other) in zip(played, played.dropFirst()) {
            #expect(abs(other.at - one.at - Double(one.tone.milliseconds) / 1000 - ChimeQueue.toneGap) < 1e-9)
        }
    }

    @Test("a tone before its time is not played")
    func early() throws {
        var queue = ChimeQueue()
        queue.add([.failed])
        #expect(queue.next(now: 10) != nil)
        let next = try #require(queue.nextAt)
        #expect(queue.next(now: next - 0.01) == nil && queue.nextAt == next)
        #expect(queue.next(now: next) != nil)
    }

    @Test("all at once: each kind once, one after the other, failures first, and soon over")
    func crowd() throws {
        var queue = ChimeQueue()
        for _ in 0..<16 { queue.add([.passed, .help, .failed]) }
        let played = play(&queue)
        #expect(played.map(\.tone) == Chime.failed.tones + Chime.help.tones + Chime.passed.tones)
        #expect(try #require(played.last).at < 6)
        let end = played[1].at + Double(played[1].tone.milliseconds) / 1000
        #expect(abs(played[2].at - end - ChimeQueue.chimeGap) < 1e-9)
    }

    @Test("one that comes while its like is being played is played after it, not into it")
    func during() {
        var queue = ChimeQueue()
        queue.add([.failed])
        #expect(queue.next(now: 0) == Chime.failed.tones[0])
        queue.add([.failed])
        queue.add([.passed])
        #expect(play(&queue).map(\.tone) == Chime.failed.tones.dropFirst() + Chime.failed.tones + Chime.passed.tones)
    }
}
