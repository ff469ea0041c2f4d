import StationLinux
@testable import StationService
import Testing

@Suite("one client's connection")
struct ControlConnectionTests {
    private let connection: ControlConnection
    private let client: LocalSocket

    init() throws {
        let (socket, client) = try LocalSocket.pair(.stream)
        self.client = client
        connection = ControlConnection(socket: socket, peer: try socket.peer(), privilege: nil)
    }

    @Test("wants what it can use: an idle one is told of nothing that it would be told of again and again")
    func wanted() {
        #expect(connection.wanted == .read)
        connection.isPaused = true
        #expect(connection.wanted == [])
        connection.isPaused = false
        connection.inputEnded = true
        #expect(connection.wanted == [])
        connection.queue([1, 2, 3])
        #expect(connection.wanted == .write)
        connection.inputEnded = false
        #expect(connection.wanted == [.read, .write])
        #expect(connection.flush())
        #expect(connection.wanted == .read)
    }
}
