import CLinux
import Glibc
package import StationCore

/// The connection that a program was started for: handed over by systemd, or by the station over a socket pair.
package enum ServiceSocket {
    private static let firstNumber: Int32 = 3

    /// The connection to serve; nil where systemd handed over a listening socket on which nobody waits.
    ///
    /// It is never waited for: the unit's sandbox was made for the card that was in when it was started, and must not serve
    /// the next one.
    /// - Parameter connected: the number of a connected descriptor, from `--connected`; nil asks the environment
    ///   (`LISTEN_PID`, `LISTEN_FDS`; see sd_listen_fds(3)).
    /// - Throws: `no_socket`.
    package static func connection(connected: Int32?) throws(StationError) -> LocalSocket? {
        if let connected { return LocalSocket(Descriptor(owning: connected)) }
        guard let count = getenv("LISTEN_FDS"), String(cString: count) == "1", let process = getenv("LISTEN_PID"),
            String(cString: process) == "\(getpid())"
        else {
            throw StationError(
                "no_socket", "this program is started by systemd or by stationd, with a socket",
                remedy: "see the unit station-writer@.socket or station-library.socket")
        }
        let socket = LocalSocket(Descriptor(owning: firstNumber))
        var isListening: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(firstNumber, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &length) == 0 else {
            throw SystemError("getsockopt", "SO_ACCEPTCONN").asStationError("no_socket")
        }
        guard isListening != 0 else { return socket }
        do {
            let flags = try retrying("fcntl", "socket") { fcntl(firstNumber, F_GETFL) }
            _ = try retrying("fcntl", "socket") { fcntl(firstNumber, F_SETFL, flags | O_NONBLOCK) }
            return try socket.accept(nonblocking: false)
        } catch {
            throw error.asStationError("no_socket")
        }
    }
}
