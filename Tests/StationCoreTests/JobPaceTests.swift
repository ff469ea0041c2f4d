import StationCore
import Testing

/// A job on a card that writes and reads at given rates, told every half second.
private struct Simulation {
    let contentByteCount = 2_000_000_000.0
    var wiped = 100_000_000.0
    let evicted = 67_000_000.0
    var writeRate: Double
    var readRate: Double

    private struct Part {
        var phase: JobPhase
        var bytes: Double
        var rate: Double
    }

    private var parts: [Part] {
        let body = contentByteCount - 1_048_576
        return [
            Part(phase: .guarding, bytes: 0, rate: 1), Part(phase: .probing, bytes: 0, rate: 1),
            Part(phase: .wiping, bytes: wiped, rate: writeRate), Part(phase: .writing, bytes: body, rate: writeRate),
            Part(phase: .probing, bytes: evicted, rate: readRate),
            Part(phase: .verifying, bytes: body * 0.9, rate: readRate),
            Part(phase: .wiping, bytes: wiped, rate: readRate),
            Part(phase: .verifying, bytes: body * 0.1, rate: readRate),
            Part(phase: .finishing, bytes: 0, rate: 1),
        ]
    }

    /// What the writer says, and how long the job really goes on from there.
    var reports: [(progress: JobProgress, left: Double)] {
        let total = parts.reduce(0) { $0 + $1.bytes }
        let length = parts.reduce(0) { $0 + ($1.bytes > 0 ? $1.bytes / $1.rate : 0.4) }
        var result: [(JobProgress, Double)] = []
        var began = 0.0
        var before = 0.0
        for part in parts {
            let seconds = part.bytes > 0 ? part.bytes / part.rate : 0.4
            for step in 0...Int(seconds / 0.5) {
                let done = min(part.bytes, part.rate * 0.5 * Double(step))
                let elapsed = began + 0.5 * Double(step)
                result.append(
                    (
                        JobProgress(
                            phase: part.phase, phaseBytesDone: UInt64(done), phaseBytesTotal: UInt64(part.bytes),
                            bytesDone: UInt64(before + done), bytesTotal: part.phase == .guarding ? 0 : UInt64(total),
                            elapsedSeconds: elapsed), length - elapsed
                    ))
            }
            began += seconds
            before += part.bytes
        }
        return result
    }

    /// What a job with this pace would have said, beside what was right.
    func estimates(_ pace: inout JobPace) -> [(progress: JobProgress, phase: JobPhase, told: Double?, right: Double)] {
        var before = JobProgress(phase: .guarding)
        return reports.map { progress, left in
            pace.advance(from: before, to: progress)
            before = progress
            return (
                progress, progress.phase, pace.secondsLeft(progress, contentByteCount: UInt64(contentByteCount)), left
            )
        }
    }
}

@Suite("the time that is left")
struct JobPaceTests {
    @Test(
        "is known from the slot's last job on, in every phase",
        arguments: [(20e6, 40e6), (10e6, 90e6), (40e6, 20e6), (90e6, 90e6)])
    func secondJob(writeRate: Double, readRate: Double) throws {
        let simulation = Simulation(writeRate: writeRate, readRate: readRate)
        var first = JobPace()
        _ = simulation.estimates(&first)
        var pace = first.inherited()
        for (_, phase, told, right) in simulation.estimates(&pace) where phase != .guarding {
            let told = try #require(told)
            #expect(abs(told - right) < 3 + right * 0.06, "\(phase): \(told) for \(right)")
        }
    }

    @Test("does not jump from one phase to the next, and seldom grows", arguments: [(20e6, 40e6), (40e6, 20e6)])
    func smooth(writeRate: Double, readRate: Double) throws {
        let simulation = Simulation(writeRate: writeRate, readRate: readRate)
        var pace = JobPace(report(writeRate: writeRate, readRate: readRate))
        let told = simulation.estimates(&pace).compactMap(\.told)
        for (one, next) in zip(told, told.dropFirst()) {
            #expect(next < one + 3, "\(one) became \(next)")
            #expect(one - next < 4, "\(one) became \(next)")
        }
    }

    @Test(
        "is right on a slot's first card from a tenth of the job on, where one read was sampled before",
        arguments: [(20e6, 40e6), (40e6, 90e6), (90e6, 95e6), (40e6, 20e6)])
    func firstJobSampled(writeRate: Double, readRate: Double) throws {
        let simulation = Simulation(writeRate: writeRate, readRate: readRate)
        var pace = JobPace()
        pace.learn(readRate: readRate * 1.05)
        let length = try #require(simulation.reports.first).left
        for (progress, phase, told, right) in simulation.estimates(&pace) where progress.elapsedSeconds > length / 10 {
            let told = try #require(told)
            #expect(abs(told - right) < length / 10, "\(phase): \(told) for \(right)")
        }
    }

    @Test("takes no sample for better than what the slot's last job showed, and hands none on")
    func sampleAgainstExperience() throws {
        let simulation = Simulation(writeRate: 20e6, readRate: 40e6)
        var known = JobPace(report(writeRate: 20e6, readRate: 40e6))
        known.learn(readRate: 5e6)
        let told = try #require(simulation.estimates(&known).compactMap(\.told).first)
        #expect(abs(told - simulation.reports[0].left) < 3 + told * 0.06)

        var pulled = JobPace()
        pulled.learn(readRate: 5e6)
        var next = pulled.inherited()
        #expect(next == JobPace())
        next.learn(readRate: 0)
        next.learn(readRate: -.infinity)
        next.learn(readRate: .nan)
        #expect(next == JobPace())
    }

    @Test(
        "takes what was zeroed and is read back for reading, and hands that on",
        arguments: [(20e6, 90e6), (40e6, 20e6)])
    func wipedMuch(writeRate: Double, readRate: Double) throws {
        let simulation = Simulation(wiped: 3_000_000_000, writeRate: writeRate, readRate: readRate)
        var first = JobPace()
        _ = simulation.estimates(&first)
        var pace = first.inherited()
        for (_, phase, told, right) in simulation.estimates(&pace) where phase == .writing {
            #expect(abs(try #require(told) - right) < 3 + right * 0.06, "\(phase)")
        }
    }

    @Test("is rather too long than too short on a slot's first card, and right once reading is seen")
    func firstJob() throws {
        let simulation = Simulation(writeRate: 20e6, readRate: 40e6)
        var pace = JobPace()
        for (progress, phase, told, right) in simulation.estimates(&pace) {
            guard let told else {
                #expect([.guarding, .probing, .wiping].contains(phase))
                continue
            }
            #expect(told > right * 0.9 - 3, "\(phase): \(told) for \(right)")
            #expect(told < right * 2 + 3, "\(phase): \(told) for \(right)")
            if progress.bytesDone > 2_400_000_000 { #expect(abs(told - right) < 3 + right * 0.06) }
        }
    }

    @Test("follows a card that becomes slow, within a minute")
    func slowing() throws {
        var pace = JobPace()
        var before = JobProgress(phase: .writing)
        var done = 0.0
        for second in 1...240 {
            done += second <= 120 ? 40e6 : 8e6
            let progress = JobProgress(
                phase: .writing, phaseBytesDone: UInt64(done), phaseBytesTotal: 30_000_000_000, bytesDone: UInt64(done),
                bytesTotal: 60_000_000_000, elapsedSeconds: Double(second))
            pace.advance(from: before, to: progress)
            before = progress
        }
        let told = try #require(pace.secondsLeft(before, contentByteCount: 30_000_000_000))
        #expect(abs(told - (60e9 - done) / 8e6) < 0.35 * (60e9 - done) / 8e6)
    }

    @Test("is not told where nothing is known: no rate, no total, no time")
    func unknown() {
        let writing = JobProgress(
            phase: .writing, phaseBytesDone: 5, phaseBytesTotal: 10, bytesDone: 5, bytesTotal: 20, elapsedSeconds: 0.1)
        var pace = JobPace()
        #expect(pace.secondsLeft(writing, contentByteCount: 10) == nil)
        pace.advance(from: JobProgress(phase: .writing), to: writing)
        #expect(pace.secondsLeft(writing, contentByteCount: 10) == nil, "a tenth of a second tells nothing")
        #expect(JobPace(JobReport(.refused(.noMedium))) == JobPace())
        let known = JobPace(report(writeRate: 1e6, readRate: 1e6))
        #expect(known.secondsLeft(JobProgress(phase: .guarding), contentByteCount: 10) == nil)
        // More done than there was to do, and a clock that stands still, are survived.
        var odd = writing
        odd.bytesDone = 100
        odd.phaseBytesDone = 100
        #expect(known.secondsLeft(odd, contentByteCount: 10) == 0)
        let before = pace
        pace.advance(from: odd, to: writing)
        #expect(pace == before)
    }

    private func report(writeRate: Double, readRate: Double) -> JobReport {
        var report = JobReport(.passed)
        report.bytesWritten = 1_000_000_000
        report.bytesVerified = 1_000_000_000
        report.writeSeconds = 1e9 / writeRate
        report.verifySeconds = 1e9 / readRate
        return report
    }
}
