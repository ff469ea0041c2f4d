import Dispatch
import Glibc
import StationCore
import StationLinux

/// One client of the control socket: bytes in, calls out; replies in, bytes out. Lives on the server's queue.
final class ControlConnection {
    let socket: LocalSocket
    let peer: PeerCredentials
    /// Nil for a stranger.
    let privilege: Control.Privilege?

    var watch: DescriptorWatch?
    /// Nothing more is read from the client until some of its calls are answered.
    var isPaused = false
    /// The client has said all that it will say; its calls are still answered.
    var inputEnded = false

    /// Calls that wait, oldest first.
    var pending: [ControlCall] = []
    /// The call under way.
    var current: ControlCall?
    var task: Task<Void, Never>?
    /// Somebody waits until the client has taken everything.
    var waiter: CheckedContinuation<Bool, Never>?
    var isStallWatched = false

    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private var outputOffset = 0
    /// Files that came beside bytes of which the rest is still missing.
    private var descriptors: [Descriptor] = []
    /// An image and all that may come beside it.
    private static let descriptorLimit = 1 + ImportCompanion.allCases.count
    private var messagesTaken = 0
    private var bytesSent = 0

    init(socket: LocalSocket, peer: PeerCredentials, privilege: Control.Privilege?) {
        self.socket = socket
        self.peer = peer
        self.privilege = privilege
    }

    /// Takes bytes and what came beside them; calls that are whole go to `pending`.
    /// - Returns: false when this is no client that can be talked to: malformed, too long, or with files nobody asked for.
    func take(_ received: ReceivedMessage, byteLimit: Int) -> Bool {
        descriptors += received.descriptors
        guard !received.isTruncated, descriptors.count <= Self.descriptorLimit else { return false }
        input += received.bytes
        var start = input.startIndex
        while let end = input[start...].firstIndex(of: 0) {
            guard end - start <= byteLimit, var call = ControlCall(message: input[start..<end]) else { return false }
            if call.stationMethod?.takesFile == true {
                call.descriptors = descriptors
                descriptors = []
            }
            pending.append(call)
            messagesTaken += 1
            start = end + 1
        }
        input.removeSubrange(..<start)
        return input.count <= byteLimit && (descriptors.isEmpty || !input.isEmpty)
    }

    func queue(_ message: [UInt8]) { output += message }

    var isDrained: Bool { outputOffset == output.count }

    /// What is to be told of the socket now.
    var wanted: DescriptorWatch.Events {
        var events: DescriptorWatch.Events = []
        if !isPaused, !inputEnded { events.insert(.read) }
        if !isDrained { events.insert(.write) }
        return events
    }

    /// Sends what the client takes now.
    /// - Returns: false when there is no client any more.
    func flush() -> Bool {
        while !isDrained {
            let end = min(output.count, outputOffset + 128 * 1024)
            do {
                let count = try socket.send(output[outputOffset..<end], waits: false)
                outputOffset += count
                bytesSent += count
            } catch {
                return error.number == EAGAIN
            }
        }
        output.removeAll(keepingCapacity: false)
        outputOffset = 0
        return true
    }

    /// How far the client is, when it has something to do: to take a reply, or to end a call it began.
    var dueProgress: [Int]? {
        // A call that is half said because nobody reads on here is not the client's delay.
        let isHalfSaid = !input.isEmpty && !isPaused
        return isDrained && !isHalfSaid ? nil : [isDrained ? -1 : bytesSent, isHalfSaid ? messagesTaken : -1]
    }

    /// Whether the client has closed its end altogether, rather than only ended what it says. Corresponds to `POLLHUP`.
    var isHungUp: Bool {
        var entry = pollfd(fd: socket.descriptor.number, events: 0, revents: 0)
        return poll(&entry, 1, 0) > 0 && entry.revents & Int16(POLLHUP | POLLERR) != 0
    }

    /// Whether a call goes on for as long as somebody listens.
    var hasSubscription: Bool {
        ([current].compactMap { $0 } + pending).contains { $0.more && $0.stationMethod?.isSubscription == true }
    }
}
