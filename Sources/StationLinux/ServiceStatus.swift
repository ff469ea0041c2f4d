import Glibc

/// systemd's own socket, for programs that tell it what they do and are not linked with libsystemd.
package enum ServiceStatus {
    /// Says in one line what this process does; `systemctl status` shows it. Nothing happens where systemd does not listen.
    /// Corresponds to `STATUS=` of `sd_notify(3)`: a datagram to `$NOTIFY_SOCKET`.
    package static func tell(_ line: String) {
        guard let path = getenv("NOTIFY_SOCKET").map({ String(cString: $0) }), path.hasPrefix("/"),
            let socket = try? LocalSocket.connect(to: path, .datagrams)
        else { return }
        // Where systemd has much to do, nobody waits for it.
        _ = try? socket.send("STATUS=\(line)\n".utf8, waits: false)
    }
}
