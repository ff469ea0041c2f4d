import Foundation
import StationCore
import StationLinux
import StationService
import Synchronization
import Testing

@Suite("control server: framing, slow clients, rude clients")
struct ControlAbuseTests {
    private let getStatus = "{\"method\":\"\(qualified(.getStatus))\"}"

    private func explain(_ slot: String) -> String {
        "{\"method\":\"\(qualified(.explain))\",\"parameters\":{\"slot\":\"\(slot)\"}}"
    }

    @Test("a call that comes byte by byte is one call")
    func bytes() async throws {
        let test = try await ServerUnderTest()
        let client = try test.client()
        for byte in getStatus.unicodeScalars { try client.send(String(byte)) }
        try client.send("\0")
        #expect(try await client.reply().error == nil)
        await test.end()
    }

    @Test("calls sent at once are answered in order, also more of them than may wait", arguments: [2, 16, 300])
    func pipelining(count: Int) async throws {
        let test = try await ServerUnderTest()
        let client = try test.client()
        try client.send((1...count).map { explain("slot\($0)") + "\0" }.joined())
        for index in 1...count {
            let reply = try #require(await client.next())
            #expect(reply.contains("\"slot\(index) is declared\""))
        }
        #expect(test.station.calls == (1...count).map { "explain slot\($0)" })
        await test.end()
    }

    @Test(
        "what is no call ends the connection",
        arguments: [
            "", "x", "{", "[]", "5", "{}", #"{"method":5}"#, #"{"method":"a.B","more":1}"#, "\u{7F}\u{1}",
        ])
    func malformed(message: String) async throws {
        let test = try await ServerUnderTest()
        let client = try test.client()
        try client.call(message)
        #expect(await client.next() == nil)
        // The next client is served.
        #expect(try await test.client().ask(qualified(.getStatus)).error == nil)
        await test.end()
    }

    @Test("JSON as deep as a well does no harm", arguments: [100, 500, 5000, 30000])
    func nesting(depth: Int) async throws {
        let test = try await ServerUnderTest()
        let deep = String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        let client = try test.client()
        try client.call("{\"method\":\"\(qualified(.explain))\",\"parameters\":{\"slot\":\(deep)}}")
        let answer = await client.next()
        #expect(answer == nil || answer?.contains("InvalidParameter") == true)
        #expect(try await test.client().ask(qualified(.getStatus)).error == nil)
        await test.end()
    }

    @Test("a call that is too long ends the connection, ended or not", arguments: ["", "\0"])
    func oversize(ending: String) async throws {
        let test = try await ServerUnderTest()
        let client = try test.client()
        // It may hang up before everything is sent.
        try? client.send(explain(String(repeating: "a", count: 70_000)) + ending)
        #expect(await client.next() == nil)
        await test.end()
    }

    @Test("a call just as long as may be is taken")
    func longest() async throws {
        let test = try await ServerUnderTest()
        let client = try test.client()
        let length = ControlLimits().callByteCount - explain("").utf8.count
        try client.call(explain(String(repeating: "a", count: length)))
        #expect(try await client.reply().error == nil)
        await test.end()
    }

    @Test(
        "a file where none belongs, or more than an import takes, end the connection",
        arguments: [
            (Control.Method.getStatus, 1), (.importImage, 5), (.importImage, 7),
        ])
    func descriptors(method: Control.Method, count: Int) async throws {
        let test = try await ServerUnderTest()
        let client = try test.client()
        let file = try Descriptor(opening: "/dev/null", O_RDONLY)
        try client.send(
            "{\"method\":\"\(qualified(method))\",\"parameters\":{}}\0",
            descriptors: Array(repeating: file, count: count))
        var last = await client.next()
        if last != nil { last = await client.next() }
        #expect(last == nil)
        #expect(!test.station.calls.contains { $0.hasPrefix("import") })
        await test.end()
    }

    @Test("a file may come behind other calls, and goes to the import")
    func descriptorBehindCalls() async throws {
        let test = try await ServerUnderTest()
        let client = try test.client()
        let file = try Descriptor(opening: "/dev/null", O_RDONLY)
        let call = "{\"method\":\"\(qualified(.importImage))\",\"parameters\":{\"name\":\"x\"}}\0"
        try client.send(getStatus + "\0")
        try client.send(String(call.prefix(20)), descriptors: [file])
        try client.send(String(call.dropFirst(20)))
        _ = try await client.reply()
        #expect(try await client.reply().parameters["image"] != nil)
        await test.end()
    }

    @Test("who hangs up ends its subscription")
    func hangUp() async throws {
        let test = try await ServerUnderTest()
        let station = test.station
        var client: RawClient? = try test.client()
        #expect(try await client?.ask(qualified(.watch), more: true).continues == true)
        #expect(await eventually { station.listeners == 1 })
        client = nil
        #expect(await eventually { station.listeners == 0 })
        client = try test.client()
        #expect(try await client?.ask(qualified(.watchDevices), more: true).continues == true)
        #expect(await eventually { station.deviceListeners == 1 })
        client = nil
        #expect(await eventually { station.deviceListeners == 0 })
        let server = test.server
        #expect(await eventually { await server.connectionCount == 0 })
        await test.end()
    }

    @Test("who hangs up ends its import")
    func hangUpImport() async throws {
        let test = try await ServerUnderTest()
        let station = test.station
        station.state.withLock { $0.isImportLeftOpen = true }
        var client: RawClient? = try test.client()
        try client?.send(
            "{\"method\":\"\(qualified(.importImage))\",\"parameters\":{\"name\":\"x\"},\"more\":true}\0",
            descriptors: [try Descriptor(opening: "/dev/null", O_RDONLY)])
        _ = try await client?.reply()
        client = nil
        #expect(await eventually { station.state.withLock { $0.importEnded } == 1 })
        await test.end()
    }

    @Test("who says no more but listens gets the answers")
    func halfClosed() async throws {
        let test = try await ServerUnderTest()
        let client = try test.client()
        try client.call(getStatus, explain("slot1"))
        shutdown(client.socket.descriptor.number, Int32(SHUT_WR))
        #expect(try await client.reply().error == nil)
        #expect(try await client.reply().error == nil)
        #expect(await client.next() == nil)
        await test.end()
    }

    @Test("what somebody asked for just before hanging up is done")
    func lastWord() async throws {
        let test = try await ServerUnderTest()
        let arm = "{\"method\":\"\(qualified(.arm))\",\"parameters\":{\"slots\":[\"slot1\"]},\"oneway\":true}"
        for _ in 0..<12 { try test.client().call(arm) }
        #expect(await eventually { test.station.calls.count == 12 })
        await test.end()
    }

    @Test("a call that wants no reply gets none")
    func oneWay() async throws {
        let test = try await ServerUnderTest()
        let client = try test.client()
        try client.call(
            "{\"method\":\"\(qualified(.arm))\",\"parameters\":{\"slots\":[\"slot1\"]},\"oneway\":true}",
            explain("slot2"))
        #expect(try #require(await client.next()).contains("slot2 is declared"))
        #expect(test.station.calls == ["arm slot1", "explain slot2"])
        await test.end()
    }

    /// A status too large for a socket's buffer.
    private func large(_ number: Int) -> Control.Status {
        let problems = (0..<300).map { StationError("p\($0)", String(repeating: "x", count: 1000)) }
        return Control.Status(version: "\(number)", bootID: "b", problems: problems, slots: [])
    }

    @Test("a slow watcher gets the newest status, not all of them")
    func slowReader() async throws {
        let test = try await ServerUnderTest()
        test.station.tell(large(0))
        let client = try test.client()
        try client.call("{\"method\":\"\(qualified(.watch))\",\"more\":true}")
        let station = test.station
        #expect(await eventually { station.listeners == 1 })
        for number in 1...100 { test.station.tell(large(number)) }
        // Whatever was on its way when the reader fell asleep, the newest is at most two replies behind it.
        var seen: [JSONValue?] = []
        repeat { seen.append(try await client.reply().parameters["version"]) } while seen.last != .string("100")
        #expect(seen.count <= 4)
        await test.end()
    }

    @Test("a watcher that takes nothing is hung up on, and the others are not")
    func stalledReader() async throws {
        var limits = ControlLimits()
        limits.stallSeconds = 0.3
        let test = try await ServerUnderTest(limits: limits)
        let server = test.server
        let station = test.station
        test.station.tell(large(0))
        let stalled = try test.client()
        try stalled.call("{\"method\":\"\(qualified(.watch))\",\"more\":true}")
        let idle = try test.client()
        #expect(try await idle.ask(qualified(.listImages)).error == nil)
        #expect(await eventually { station.listeners == 1 })
        #expect(await eventually { station.listeners == 0 })
        #expect(await eventually { await server.connectionCount == 1 })
        #expect(try await idle.ask(qualified(.listImages)).error == nil)
        await test.end()
    }

    @Test("a call that stays half said is hung up on")
    func halfCall() async throws {
        var limits = ControlLimits()
        limits.stallSeconds = 0.3
        let test = try await ServerUnderTest(limits: limits)
        let client = try test.client()
        try client.send("{\"method\":")
        #expect(await client.next() == nil)
        await test.end()
    }

    @Test("a client that the server itself keeps waiting is not hung up on for what it could not say")
    func heldBack() async throws {
        var limits = ControlLimits()
        limits.stallSeconds = 0.2
        limits.pendingCalls = 1
        let test = try await ServerUnderTest(limits: limits)
        let station = test.station
        station.state.withLock { $0.isImportLeftOpen = true }
        let client = try test.client()
        try client.send(
            "{\"method\":\"\(qualified(.importImage))\",\"parameters\":{\"name\":\"x\"}}\0",
            descriptors: [try Descriptor(opening: "/dev/null", O_RDONLY)])
        #expect(await eventually { station.state.withLock { $0.imports.count } == 1 })
        // Behind an import that takes its time: more calls than may wait, and the beginning of one.
        try client.send((1...3).map { explain("slot\($0)") + "\0" }.joined() + String(explain("slot4").prefix(20)))
        // Another client that is half said is hung up on after the same time, so it is over when this one is.
        let impatient = try test.client()
        try impatient.send("{\"method\":")
        #expect(await impatient.next() == nil)
        try client.send(String(explain("slot4").dropFirst(20)) + "\0")
        station.state.withLock { $0.imports }.forEach { $0.finish(throwing: StationError("ended", "it is over")) }
        #expect(try await client.reply().parameters["code"] == .string("ended"))
        for index in 1...4 { #expect(await client.next()?.contains("slot\(index) is declared") == true) }
        await test.end()
    }

    @Test(
        "one user cannot take all connections, and strangers share a few",
        arguments: [
            (ServerUnderTest.Caller.operator, 3), (.stranger, 2), (.root, 5),
        ])
    func connectionLimits(caller: ServerUnderTest.Caller, expected: Int) async throws {
        var limits = ControlLimits()
        limits.connectionCount = 5
        limits.connectionsPerUser = 3
        limits.strangerConnections = 2
        let test = try await ServerUnderTest(as: caller, limits: limits)
        let clients = try (0..<expected).map { _ in try test.client() }
        for client in clients { #expect(try await client.ask("org.varlink.service.GetInfo").error == nil) }
        let late = try test.client()
        #expect(try await late.reply().parameters["code"] == .string("too_many_connections"))
        #expect(await late.next() == nil)
        withExtendedLifetime(clients) {}
        await test.end()
    }

    @Test("a thousand rude connections leave the server as it was")
    func many() async throws {
        let test = try await ServerUnderTest()
        let server = test.server
        for index in 0..<1000 {
            let client = try test.client()
            switch index % 4 {
            case 0: try? client.call("{")
            case 1: try? client.send("{\"method\":")
            case 2: try? client.call("{\"method\":\"\(qualified(.watch))\",\"more\":true}")
            default: break
            }
        }
        #expect(await eventually { await server.connectionCount == 0 })
        #expect(try await test.client().ask(qualified(.getStatus)).error == nil)
        await test.end()
    }

    @Test("when the station ends its streams, watchers are told; when it stops, they are hung up on")
    func stopping() async throws {
        let test = try await ServerUnderTest()
        let station = test.station
        let client = try test.client()
        _ = try await client.ask(qualified(.watch), more: true)
        #expect(await eventually { station.listeners == 1 })
        station.endStreams()
        #expect(try await client.reply().parameters["code"] == .string("station_stopping"))
        _ = try await client.ask(qualified(.watch), more: true)
        await test.server.stop()
        #expect(await client.next() == nil)
        #expect(!FileManager.default.fileExists(atPath: test.socketPath))
        await test.end()
    }

    @Test("a dead station's socket is replaced; a live one, and a file, are not")
    func socketFile() async throws {
        let test = try await ServerUnderTest()
        let make = { (path: String) in
            try ControlServer(
                socketPath: path, control: FakeStation(), access: ServerUnderTest.Caller.root.access,
                information: ServiceInformation(version: "1"))
        }
        #expect { try make(test.socketPath) } throws: { ($0 as? StationError)?.code == "station_running" }
        let stale = test.directory + "/stale"
        _ = try LocalSocket.listen(at: stale, .stream, mode: 0o600)
        // A child that another test starts at this moment has a copy of it, until it becomes its program.
        #expect(await eventually { (try? LocalSocket.connect(to: stale, .stream)) == nil })
        let server = try make(stale)
        try await server.start()
        #expect(try await RawClient(stale).ask(qualified(.getStatus)).error == nil)
        await server.stop()
        let file = test.directory + "/file"
        try "x".write(toFile: file, atomically: true, encoding: .utf8)
        #expect { try make(file) } throws: { ($0 as? StationError)?.code == "control_socket" }
        #expect(FileManager.default.fileExists(atPath: file))
        await test.end()
    }
}
