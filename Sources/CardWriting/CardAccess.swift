import Glibc
import StationCore
import StationLinux

/// Why a job ended before `passed`.
enum JobEnd: Error, Sendable {
    case failed(Reason, detail: String, offset: UInt64? = nil, badBlocks: UInt64 = 0)
    case stopped(JobControl.Stop)
}

/// Every request that a job makes goes through here: it asks first whether it is still the same card, and judges the answer.
struct CardAccess: Sendable {
    let medium: any CardMedium
    /// What the guard found, and what must stay.
    let identity: MediumIdentity
    let checks: Set<Check>
    let control: JobControl
    /// How long after an error it is watched whether the card goes away, in seconds: a pulled card fails first and leaves
    /// later.
    let removalPatience: Double
    /// How long it is watched whether a card that looks exchanged goes away, in seconds: the kernel counts a pulled card's
    /// sequence up a moment before it takes the disk away.
    private static let exchangePatience = 0.7
    /// What fills a buffer before each read: nobody knows it, no byte of it is zero, and so nothing that is expected equals it.
    private let unread = UInt64.random(in: .min ... .max) | 0x0101_0101_0101_0101

    /// One write of a whole buffer. Blocks.
    /// - Parameter isLast: the marker after a stop, which must not be stopped itself.
    func write(_ buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, isLast: Bool = false) throws(JobEnd) {
        try gate(isLast: isLast)
        control.requestBegins()
        var written = 0
        defer { control.requestEnds(bytes: written) }
        do {
            written = try medium.write(UnsafeRawBufferPointer(buffer), at: offset)
        } catch {
            guard checks.contains(.inputOutputError) else { return }
            throw judge(error.description, .writeError, offset, isLast: isLast)
        }
        if written != buffer.count, checks.contains(.fullRequest) {
            throw judge("only \(written) of \(buffer.count) bytes were written", .shortWrite, offset, isLast: isLast)
        }
    }

    /// One read of a whole buffer. Blocks. A reader that says it read and transferred nothing leaves nothing that could pass.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(JobEnd) {
        try gate(isLast: false)
        if checks.contains(.freshBuffer) { buffer.initializeMemory(as: UInt64.self, repeating: unread) }
        control.requestBegins()
        var got = 0
        defer { control.requestEnds(bytes: got) }
        do {
            got = try medium.read(into: buffer, at: offset)
        } catch {
            throw judge(error.description, .readError, offset)
        }
        guard got == buffer.count else {
            throw judge("only \(got) of \(buffer.count) bytes came back", .readError, offset)
        }
    }

    /// Puts what was written onto the medium. Blocks.
    func synchronise(isLast: Bool = false) throws(JobEnd) {
        try gate(isLast: isLast)
        control.requestBegins()
        defer { control.requestEnds(bytes: 0) }
        do {
            try medium.synchronise()
        } catch {
            guard checks.contains(.inputOutputError) else { return }
            throw judge(error.description, .writeError, nil, isLast: isLast)
        }
    }

    /// Tells the card to forget a range; true when it can.
    func discard(at offset: UInt64, count: UInt64) throws(JobEnd) -> Bool {
        try gate(isLast: false)
        control.requestBegins()
        defer { control.requestEnds(bytes: 0) }
        do {
            try medium.discard(at: offset, count: count)
            return true
        } catch {
            // The last is a reader that claims to pass the command on and then refuses it.
            if [EOPNOTSUPP, EINVAL, EREMOTEIO].contains(error.number) { return false }
            throw judge(error.description, .writeError, offset)
        }
    }

    /// Blocks for up to `exchangePatience` when the medium is another: only a disk that stays is an exchanged card.
    /// - Parameter isLast: nobody waits to hear why.
    /// - Throws: `card_removed` or `card_changed` when the medium is not the one that the guard let through.
    func verifyIdentity(isLast: Bool = false) throws(JobEnd) {
        var other: MediumIdentity?
        let deadline = SystemClock.monotonicSeconds() + (isLast ? 0 : min(removalPatience, Self.exchangePatience))
        while true {
            let now: MediumIdentity
            do {
                now = try medium.identity()
            } catch {
                throw .failed(.cardRemoved, detail: error.description)
            }
            guard now.byteCount > 0 else { throw .failed(.cardRemoved, detail: "the disk has no medium any more") }
            if other == nil, now == identity { return }
            // What once was another is never again the one that the guard let through.
            let seen = other ?? now
            other = seen
            guard SystemClock.monotonicSeconds() < deadline, control.stopCause == nil else {
                throw .failed(
                    .cardChanged,
                    detail:
                        "disk sequence \(identity.sequence) with \(identity.byteCount) bytes became \(seen.sequence) with \(seen.byteCount)"
                )
            }
            usleep(20_000)
        }
    }

    private func gate(isLast: Bool) throws(JobEnd) {
        if !isLast, let cause = control.stopCause { throw .stopped(cause) }
        if checks.contains(.identityBeforeRequest) { try verifyIdentity(isLast: isLast) }
    }

    /// What an error or a request cut short means: a card that is gone, another card, or a card that is broken.
    /// - Parameter isLast: the verdict stands already, and nobody waits to hear why the marker could not be left.
    private func judge(_ problem: String, _ reason: Reason, _ offset: UInt64?, isLast: Bool = false) -> JobEnd {
        let deadline = SystemClock.monotonicSeconds() + (isLast ? 0 : removalPatience)
        repeat {
            do {
                try verifyIdentity(isLast: isLast)
            } catch {
                return error
            }
            // The kernel reports the failed request before it reports that the disk is gone.
            usleep(20_000)
        } while SystemClock.monotonicSeconds() < deadline
        let place = offset.map { " at \($0)" } ?? ""
        return .failed(reason, detail: "\(problem)\(place)", offset: offset)
    }
}
