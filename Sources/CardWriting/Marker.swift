import Glibc
package import StationCore

/// What a card's first MiB holds while a job runs, and after one that failed: whose card it is, and no boot code and no table.
///
/// It is text, so that anyone can read it: `head -c 200 /dev/sdX`. Read back at the end of a job it proves that writes land on
/// the medium at all: a dead card that still shows yesterday's identical image has yesterday's first MiB.
package struct Marker: Equatable, Sendable {
    /// The state of the job that wrote it.
    package enum State: String, Sendable {
        case unfinished, failed, cancelled
    }

    package var job: JobID
    package var state: State
    /// The reason's code, where there is one.
    package var reason: String

    package init(job: JobID, state: State, reason: String = "") {
        self.job = job
        self.state = state
        self.reason = reason
    }

    /// The first line; a version behind it can follow later.
    private static let title = "flashing-station marker 1"
    /// The largest marker, in bytes.
    package static let byteCount = 512

    /// As it stands on the card, without the zeros behind it.
    package var text: String { "\(Self.title)\njob=\(job)\nstate=\(state.rawValue)\nreason=\(reason)\n" }

    /// Reads the beginning of a card; nil when there is no marker.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        let lines = String(decoding: bytes.prefix(Self.byteCount).prefix { $0 != 0 }, as: UTF8.self)
            .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        guard lines.count == 5, lines[0] == Self.title, lines[1].hasPrefix("job="), lines[2].hasPrefix("state="),
            lines[3].hasPrefix("reason="), let job = JobID(String(lines[1].dropFirst(4))),
            let state = State(rawValue: String(lines[2].dropFirst(6)))
        else { return nil }
        self.init(job: job, state: state, reason: String(lines[3].dropFirst(7)).printable(limit: 40))
    }

    /// Fills a buffer with the marker and zeros.
    package func fill(_ buffer: UnsafeMutableRawBufferPointer) {
        if let base = buffer.baseAddress { memset(base, 0, buffer.count) }
        buffer.copyBytes(from: Array(text.utf8.prefix(Self.byteCount - 2)))
    }
}
