import CSystemd
import Glibc
package import StationCore
import StationLinux

/// Where entries go: to journald, or line by line to standard error where there is none.
package struct Journal: Sendable {
    private let isThere: Bool

    /// - Parameter socketPath: journald's; where it is missing, entries go to standard error.
    package init(socketPath: String = "/run/systemd/journal/socket") {
        isThere = (try? FileStatus(of: socketPath)) != nil
    }

    /// Writes one entry. Blocks for as long as journald takes to accept a datagram.
    package func write(_ entry: JournalEntry) {
        guard isThere else { return writeLine(entry) }
        let lines = entry.assignments + ["SYSLOG_IDENTIFIER=stationd"]
        let copies = lines.map { strdup($0) }
        defer { copies.forEach { free($0) } }
        var vectors = zip(copies, lines).map { iovec(iov_base: $0, iov_len: $1.utf8.count) }
        _ = sd_journal_sendv(&vectors, Int32(vectors.count))
    }

    private func writeLine(_ entry: JournalEntry) {
        var bytes = Array("stationd: \(entry.message)\n".utf8)
        _ = bytes.withUnsafeMutableBytes { Glibc.write(2, $0.baseAddress, $0.count) }
    }
}
