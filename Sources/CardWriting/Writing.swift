import StationCore
import Synchronization

/// What one job writes of the image's body and what it leaves out, shared by its threads.
final class Writing: Sendable {
    private struct State {
        var findings: [Survey.Finding]
        var contentBytesWritten: UInt64 = 0
        var writtenAgain: [Range<UInt64>] = []
        var rewriteCount = 0
    }

    private let state: Mutex<State>
    private let presumesZeros: Bool
    private let start: UInt64
    private let requestByteCount: Int

    /// - Parameter probe: its blocks lie in the body, too, and must be written over.
    init(_ survey: Survey, body: Range<UInt64>, probe: CapacityProbe, requestByteCount: Int) {
        var findings = survey.body
        for offset in probe.offsets where body.contains(offset) {
            findings[Int(offset - body.lowerBound) / requestByteCount] = .differs
        }
        state = Mutex(State(findings: findings))
        presumesZeros = survey.presumesZeros
        start = body.lowerBound
        self.requestByteCount = requestByteCount
    }

    /// What will be written of the body, unless zeros are left out.
    func byteCount(of body: Range<UInt64>) -> UInt64 {
        state.withLock {
            $0.findings.enumerated().reduce(0) { sum, each in
                let offset = UInt64(each.offset) * UInt64(requestByteCount)
                return each.element == .same
                    ? sum : sum + min(UInt64(requestByteCount), UInt64(body.count) - offset)
            }
        }
    }

    /// The least that goes through the reader from the writing of a request to its being read back, when the body is read from
    /// its beginning, in bytes.
    func leastDistance(in body: Range<UInt64>) -> UInt64 {
        state.withLock {
            var least = UInt64(body.count)
            var writtenBehind: UInt64 = 0
            for (index, finding) in $0.findings.enumerated().reversed() where finding == .unknown || finding == .differs
            {
                let readBefore = UInt64(index) * UInt64(requestByteCount)
                least = min(least, readBefore + writtenBehind)
                writtenBehind += min(UInt64(requestByteCount), UInt64(body.count) - readBefore)
            }
            return least
        }
    }

    /// Of a request by its number in the body.
    func finding(_ index: Int) -> Survey.Finding { state.withLock { $0.findings[index] } }

    /// Of the request that begins at an offset of the card.
    func finding(at offset: UInt64) -> Survey.Finding { finding(Int(offset - start) / requestByteCount) }

    /// Whether a request may be left out because it is zero, as the card is thought to be there.
    func presumesZero(_ index: Int, _ bytes: UnsafeMutableRawBufferPointer) -> Bool {
        presumesZeros && finding(index) == .unknown && bytes.isZero
    }

    func leaveOut(_ index: Int) { state.withLock { $0.findings[index] = .presumedZero } }

    func add(_ contentBytes: Int) { state.withLock { $0.contentBytesWritten += UInt64(contentBytes) } }

    /// Notes a request that was written after it had been read back wrong. It must be read once more.
    func addLate(_ range: Range<UInt64>, _ contentBytes: Int) {
        let index = Int(range.lowerBound - start) / requestByteCount
        state.withLock {
            $0.writtenAgain.append(range)
            if $0.findings[index] == .presumedZero {
                $0.findings[index] = .differs
                $0.contentBytesWritten += UInt64(contentBytes)
            } else {
                $0.rewriteCount += 1
            }
        }
    }

    /// What was written after it had been read back wrong.
    var writtenAgain: [Range<UInt64>] { state.withLock { $0.writtenAgain } }
    /// How many requests of it had been written before.
    var rewriteCount: Int { state.withLock { $0.rewriteCount } }
    /// Bytes of content that were written, each counted once.
    var contentBytesWritten: UInt64 { state.withLock { $0.contentBytesWritten } }
}
