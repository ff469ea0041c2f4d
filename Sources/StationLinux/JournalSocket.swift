package import StationCore

/// journald's own socket, for programs that write one entry and are not linked with libsystemd.
package enum JournalSocket {
    /// Writes one entry; nothing happens where there is no journald. Corresponds to journald's native protocol: a datagram with
    /// a line for each field.
    package static func write(
        _ entry: JournalEntry, as program: String, socketPath: String = "/run/systemd/journal/socket"
    ) {
        guard let socket = try? LocalSocket.connect(to: socketPath, .datagrams) else { return }
        let text = (entry.assignments + ["SYSLOG_IDENTIFIER=\(program)"]).map { $0 + "\n" }.joined()
        // The journal may be full or away: nobody is kept from working by that.
        _ = try? socket.send(text.utf8)
    }
}
