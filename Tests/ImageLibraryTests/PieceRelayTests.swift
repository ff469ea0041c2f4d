import StationCore
import Testing

@testable import ImageLibrary

/// What comes out of the relay, and which error.
@Suite struct PieceRelayTests {
    /// Keeps what it gets, and fails where it is told to.
    private final class Keeper: PieceSink {
        private(set) var bytes: [UInt8] = []
        private(set) var ends = 0
        private let failsBehind: Int

        init(failsBehind: Int = .max) { self.failsBehind = failsBehind }

        func take(_ piece: UnsafeRawBufferPointer, isLast: Bool) throws(StationError) {
            bytes += Array(piece)
            if isLast { ends += 1 }
            if bytes.count > failsBehind { throw StationError("sink", "it has enough") }
        }
    }

    private static func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 16) }
    }

    /// Reads so many bytes, then nothing, or an error.
    private static func relay(_ count: Int, into keeper: Keeper, error: StationError? = nil) throws(StationError) -> Int
    {
        let source = bytes(count)
        var done = 0
        try PieceRelay.run(into: keeper) { buffer throws(StationError) in
            let length = min(buffer.count, source.count - done)
            if length < buffer.count, let error { throw error }
            buffer.copyBytes(from: source[done..<done + length])
            done += length
            return length
        }
        return done
    }

    @Test(
        "everything arrives, in order, and the end is told of once",
        arguments: [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20, 7_333_333])
    func arrives(byteCount: Int) throws {
        let keeper = Keeper()
        #expect(try Self.relay(byteCount, into: keeper) == byteCount)
        #expect(keeper.bytes == Self.bytes(byteCount))
        #expect(keeper.ends == 1)
    }

    @Test("what cannot be read is told of, and what came before it has arrived")
    func readError() throws {
        let keeper = Keeper()
        let error = StationError("read", "no more of it")
        #expect(throws: error) { try Self.relay(4_000_000, into: keeper, error: error) }
        #expect(keeper.bytes == Self.bytes(3 << 20))
        #expect(keeper.ends == 0)
    }

    @Test("who is full ends the reading of a stream without an end")
    func sinkError() throws {
        var reads = 0
        #expect(throws: StationError("sink", "it has enough")) {
            try PieceRelay.run(into: Keeper(failsBehind: 4_000_000)) { buffer throws(StationError) in
                reads += 1
                return buffer.count
            }
        }
        #expect(reads < 12)
    }

    @Test("of two errors the one counts that stands before the other in the stream", arguments: 0..<50)
    func firstError(_: Int) throws {
        #expect(throws: StationError("sink", "it has enough")) {
            try Self.relay(
                4_000_000, into: Keeper(failsBehind: 2_000_000), error: StationError("read", "no more of it"))
        }
    }
}
