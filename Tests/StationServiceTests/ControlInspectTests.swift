import Foundation
import StationCore
import StationLinux
import StationService
import Synchronization
import Testing

@Suite("control server: looks at cards, and lists of them")
struct ControlInspectTests {
    @Test("a look comes in several replies, or in one, as the client asked", arguments: [true, false])
    func replies(more: Bool) async throws {
        let test = try await ServerUnderTest(as: .reader)
        let client = try test.client()
        var reply = try await client.ask(Control.Method.inspect.qualifiedName, #"{"slot":"slot1"}"#, more: more)
        if more {
            #expect(reply.continues && reply.parameters["inspection"] == nil)
            #expect(reply.parameters["bytesTotal"] == .integer(2))
            reply = try await client.reply()
        }
        guard case .object(let inspection)? = reply.parameters["inspection"] else {
            Issue.record("no inspection in \(reply)")
            return
        }
        #expect(!reply.continues && inspection["origin"] == .string("not_ours"))
        await test.end()
    }

    @Test("a look ends when its client hangs up, and its error reaches the client")
    func hangUp() async throws {
        let test = try await ServerUnderTest()
        test.station.state.withLock { $0.isInspectionLeftOpen = true }
        do {
            let client = try test.client()
            _ = try await client.ask(Control.Method.inspect.qualifiedName, #"{"slot":"slot1"}"#, more: true)
            client.socket.hangUp()
        }
        #expect(await eventually { test.station.state.withLock { $0.inspectionsEnded == 1 } })

        let client = try test.client()
        _ = try await client.ask(Control.Method.inspect.qualifiedName, #"{"slot":"slot1"}"#, more: true)
        let open = test.station.state.withLock { $0.inspections.last }
        open?.finish(throwing: StationError("inspection_ended", "a job began in slot1"))
        let reply = try await client.reply()
        #expect(reply.error == "\(ControlInterface.name).Failed")
        #expect(reply.parameters["code"] == .string("inspection_ended"))
        await test.end()
    }

    @Test("many cards come in several replies")
    func manyCards() async throws {
        var limits = ControlLimits()
        limits.jobsPerReply = 3
        let test = try await ServerUnderTest(limits: limits)
        test.station.state.withLock { $0.cards = Array(repeating: Sample.card, count: 7) }
        let client = try test.client()
        var counts: [Int] = []
        var reply = try await client.ask(Control.Method.listCards.qualifiedName, more: true)
        while true {
            if case .array(let cards)? = reply.parameters["cards"] { counts.append(cards.count) }
            guard reply.continues else { break }
            reply = try await client.reply()
        }
        #expect(counts == [3, 3, 1])
        await test.end()
    }
}
