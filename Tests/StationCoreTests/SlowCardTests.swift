import StationCore
import Testing

@Suite("A card that is slower than others")
struct SlowCardTests {
    private static func pace(
        _ phase: JobPhase, _ bytes: UInt64, seconds: Double, usual: Double? = 20e6
    ) -> SlowCard? {
        SlowCard(
            JobProgress(phase: phase, phaseBytesDone: bytes, phaseBytesTotal: 1 << 40, elapsedSeconds: 100 + seconds),
            phaseBeganAt: 100, usual: usual)
    }

    @Test("is one at less than a quarter of the usual speed, in what is long enough to tell")
    func conspicuous() {
        #expect(
            Self.pace(.writing, 40_000_000, seconds: 10)
                == SlowCard(bytesPerSecond: 4e6, usualBytesPerSecond: 20e6, isWriting: true))
        #expect(Self.pace(.verifying, 40_000_000, seconds: 10)?.isWriting == false)
        #expect(Self.pace(.writing, 0, seconds: 10) != nil)
        #expect(Self.pace(.writing, 50_000_000, seconds: 10) == nil)
        #expect(Self.pace(.writing, 0, seconds: 9.9) == nil)
        #expect(Self.pace(.writing, 0, seconds: 10, usual: nil) == nil)
    }

    @Test(
        "is none in phases that say nothing of its speed",
        arguments: [JobPhase.guarding, .probing, .wiping, .comparing, .finishing])
    func otherPhases(phase: JobPhase) {
        #expect(Self.pace(phase, 0, seconds: 1000) == nil)
    }

    @Test("is none of those whose writing is as slow beside their reading as that of their slot's always was")
    func asymmetric() {
        // Written at 1, read at 1000: together they are at 2, and the writing is at half of that.
        let usual = 2 / (1 / 1e6 + 1 / 1000e6)
        #expect(Self.pace(.writing, 10_000_000, seconds: 10, usual: usual) == nil)
        #expect(Self.pace(.writing, 4_900_000, seconds: 10, usual: usual) != nil)
    }
}
