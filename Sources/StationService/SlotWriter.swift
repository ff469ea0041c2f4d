@preconcurrency import Dispatch
import FoundationEssentials
import Glibc
package import StationCore
package import StationLinux
import Synchronization

/// How a slot's writer is reached.
package enum WriterLaunch: Sendable {
    /// By systemd: a socket per slot in this directory, which starts the slot's unit.
    case sockets(directory: String)
    /// By ourselves, over a socket pair, where there is no systemd.
    case program(path: String, arguments: [String])
}

/// What a writer's connection tells.
package enum WriterEvent: Equatable, Sendable {
    case message(WriterMessage)
    /// Nothing was heard for so many seconds, though the writer is there; comes every second then.
    case silent(seconds: Double)
    /// The connection ended, or never came to be. Comes last, and always.
    case lost(Reason, detail: String)
}

/// One job's connection to its writer.
package final class SlotWriter: Sendable {
    private struct State {
        var socket: LocalSocket?
        var messages: DescriptorWatch?
        var timer: (any DispatchSourceTimer)?
        var lastWord: Double?
        var lastProgress = 0.0
        var lastPhase = JobPhase.guarding
        var phasesTold = 0
        var isHungUp = false
        var isOver = false
    }

    /// How long the writer may take to say its first word, and how long its socket may be missing: systemd makes it when
    /// the card comes, at the same time as the station hears of the card. In seconds.
    private static let firstWordPatience = 30.0
    private static let socketPatience = 5.0

    private let queue: DispatchQueue
    private let handler: @Sendable (WriterEvent) -> Void
    private let state = Mutex(State())

    /// Reaches the writer and hands it the job, on a queue of its own.
    /// - Parameters:
    ///   - request: a `JobRequest` or an `InspectionRequest`.
    ///   - images: what goes beside it.
    ///   - handler: called on that queue; `lost` is the last call.
    package init(
        slot: SlotName, request: some Encodable & Sendable, images: [Descriptor], launch: WriterLaunch,
        handler: @escaping @Sendable (WriterEvent) -> Void
    ) {
        queue = DispatchQueue(label: "writer.\(slot)")
        self.handler = handler
        queue.async { self.start(slot, request, images, launch) }
    }

    /// Says something to the writer: to end the job, or what to do with a card that it recognised.
    package func tell(_ command: WriterCommand) {
        queue.async {
            guard let socket = self.state.withLock({ $0.socket }),
                let bytes = try? JSONEncoder().encode(command)
            else { return }
            _ = try? socket.send(bytes, waits: false)
        }
    }

    /// Ends the connection; the writer stops within a second.
    package func hangUp() {
        let socket = state.withLock { state in
            state.isHungUp = true
            return state.socket
        }
        socket?.hangUp()
    }

    private func start(
        _ slot: SlotName, _ request: some Encodable, _ images: [Descriptor], _ launch: WriterLaunch
    ) {
        do {
            let socket = try connect(slot, launch)
            let messages = try DescriptorWatch(socket.descriptor, queue: queue) { _, _ in self.receive(socket) }
            let isHungUp = state.withLock {
                $0.socket = socket
                $0.messages = messages
                return $0.isHungUp
            }
            // Whoever hung up while the connection came to be wants no job any more.
            guard !isHungUp else {
                return finish(.lost(.writerLost, detail: "hung up before the job was handed over"))
            }
            // Before there is a job whose end nobody would hear. Nothing is told until this has returned to the queue.
            try messages.want(.read)
            _ = try socket.send(JSONEncoder().encode(request), descriptors: images)
            watch(since: SystemClock.monotonicSeconds())
        } catch {
            finish(.lost(.writerUnreachable, detail: "\(error)".printable()))
        }
    }

    private func connect(_ slot: SlotName, _ launch: WriterLaunch) throws -> LocalSocket {
        switch launch {
        case .sockets(let directory):
            let deadline = SystemClock.monotonicSeconds() + Self.socketPatience
            while true {
                do {
                    return try LocalSocket.connect(to: "\(directory)/\(slot)", .messages)
                } catch {
                    // EACCES: systemd has made it and not yet given it to this user.
                    let isOnItsWay = [ENOENT, ECONNREFUSED, EACCES].contains(error.number)
                    guard isOnItsWay, SystemClock.monotonicSeconds() < deadline else { throw error }
                    usleep(20_000)
                }
            }
        case .program(let path, let arguments):
            let (mine, theirs) = try LocalSocket.pair(.messages)
            let child = try ChildProcess(
                path, ["--slot", slot.text, "--connected", "3"] + arguments, descriptors: [theirs.descriptor])
            // The connection's end says what happened; here the process is only reaped.
            try child.onExit(queue: queue) { _ in }
            return mine
        }
    }

    /// Looks every second whether the writer still speaks. Runs on the queue, as the handler does.
    private func watch(since start: Double) {
        let timer = DispatchSource.makeTimerSource(queue: queue)
        timer.schedule(deadline: .now() + 1, repeating: 1, leeway: .milliseconds(100))
        timer.setEventHandler { @Sendable in
            let last = self.state.withLock { $0.lastWord }
            let silence = SystemClock.monotonicSeconds() - (last ?? start)
            if last == nil, silence >= Self.firstWordPatience {
                self.hangUp()
                self.finish(.lost(.writerUnreachable, detail: "the writer did not answer within \(Int(silence)) s"))
            } else if last != nil, silence >= 1.5 {
                // Before its first word it may not even be there: that is no card that hangs.
                self.handler(.silent(seconds: silence))
            }
        }
        timer.resume()
        state.withLock { $0.timer = timer }
    }

    /// Takes everything that is there.
    private func receive(_ socket: LocalSocket) {
        while !state.withLock({ $0.isOver }) {
            let message: ReceivedMessage
            do {
                message = try socket.receive(limit: JobRequest.messageLimit, waits: false)
            } catch {
                if error.number != EAGAIN {
                    finish(.lost(.writerLost, detail: "the connection to the writer failed: \(error)"))
                }
                return
            }
            guard !message.bytes.isEmpty else {
                return finish(.lost(.writerLost, detail: "the writer ended before its verdict"))
            }
            guard !message.isTruncated,
                let decoded = try? JSONDecoder().decode(WriterMessage.self, from: Data(message.bytes))
            else {
                socket.hangUp()
                return finish(.lost(.writerLost, detail: "the writer said what no writer says"))
            }
            if isWorthTelling(decoded) { handler(.message(decoded)) }
        }
    }

    /// No sound job has more phases than this.
    private static let phaseLimit = 32

    /// Progress that comes faster than anybody looks is dropped, but not a new phase: a writer that floods costs nothing.
    private func isWorthTelling(_ message: WriterMessage) -> Bool {
        let now = SystemClock.monotonicSeconds()
        return state.withLock { state in
            state.lastWord = now
            guard case .progress(let progress) = message else { return true }
            let isNewPhase = progress.phase != state.lastPhase && state.phasesTold < Self.phaseLimit
            guard isNewPhase || now - state.lastProgress >= 0.1 else { return false }
            if isNewPhase { state.phasesTold += 1 }
            state.lastPhase = progress.phase
            state.lastProgress = now
            return true
        }
    }

    private func finish(_ event: WriterEvent) {
        let (isFirst, messages) = state.withLock { state in
            let first = (!state.isOver, state.messages)
            state.isOver = true
            state.socket = nil
            state.messages = nil
            state.timer?.cancel()
            state.timer = nil
            return first
        }
        guard isFirst else { return }
        messages?.cancel()
        handler(event)
    }
}
