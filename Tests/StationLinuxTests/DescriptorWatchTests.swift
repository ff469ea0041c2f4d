import Dispatch
import Glibc
import StationLinux
import Synchronization
import Testing

@Suite("watching descriptors", .timeLimit(.minutes(1)))
struct DescriptorWatchTests {
    private let queue = DispatchQueue(label: "test.watch")
    private let mine: LocalSocket
    private let theirs: LocalSocket

    init() throws { (mine, theirs) = try LocalSocket.pair(.messages) }

    /// A watch, and what it tells. Each word is acted upon before the next.
    private func watch(_ act: @escaping @Sendable (DescriptorWatch) -> Void = { _ in })
        throws -> (DescriptorWatch, AsyncStream<DescriptorWatch.Events>)
    {
        let (told, continuation) = AsyncStream<DescriptorWatch.Events>.makeStream()
        let watch = try DescriptorWatch(mine.descriptor, queue: queue) { watch, events in
            act(watch)
            continuation.yield(events)
        }
        return (watch, told)
    }

    private func first<Element: Sendable>(_ stream: AsyncStream<Element>) async -> Element? {
        for await element in stream { return element }
        return nil
    }

    private func afterTheQueue() async {
        await withCheckedContinuation { continuation in queue.async { continuation.resume() } }
    }

    @Test("tells of what is there, again and again until it was taken")
    func level() async throws {
        let (watch, told) = try watch()
        defer { watch.cancel() }
        _ = try theirs.send(Array("one".utf8))
        try watch.want(.read)
        for _ in 0..<3 { #expect(await first(told) == .read) }
        try watch.want([])
        #expect(String(decoding: try mine.receive(limit: 10).bytes, as: UTF8.self) == "one")
    }

    @Test("tells nothing that is not wanted, and what was held back as soon as it is")
    func wanted() async throws {
        let counts = CountBox()
        let (watch, told) = try watch { watch in
            counts.add()
            try? watch.want([])
        }
        defer { watch.cancel() }
        _ = try theirs.send([1])
        try watch.want(.write)
        #expect(await first(told) == .write)
        await afterTheQueue()
        #expect(counts.value == 1)
        try watch.want(.read)
        #expect(await first(told) == .read)
        try watch.want([.read, .write])
        #expect(await first(told) == [.read, .write])
    }

    @Test("tells reader and writer that the other end hung up", arguments: [DescriptorWatch.Events.read, .write])
    func hangUp(wanted: DescriptorWatch.Events) async throws {
        let (mine, theirs) = try LocalSocket.pair(.stream)
        let (told, continuation) = AsyncStream<DescriptorWatch.Events>.makeStream()
        if wanted == .write {
            // With no room left only the hang-up makes it writable.
            while (try? mine.send([UInt8](repeating: 0, count: 4096), waits: false)) != nil {}
        }
        let watch = try DescriptorWatch(mine.descriptor, queue: queue) { watch, events in
            watch.cancel()
            continuation.yield(events)
        }
        try watch.want(wanted)
        theirs.hangUp()
        #expect(await first(told) == wanted)
    }

    @Test("tells nothing after it was cancelled, and lets go of what its handler holds")
    func cancel() async throws {
        weak var held: CountBox?
        let (told, continuation) = AsyncStream<DescriptorWatch.Events>.makeStream()
        do {
            let counts = CountBox()
            held = counts
            let watch = try DescriptorWatch(mine.descriptor, queue: queue) { watch, events in
                counts.add()
                watch.cancel()
                continuation.yield(events)
            }
            _ = try theirs.send([1])
            try watch.want(.read)
            #expect(await first(told) == .read)
            try watch.want(.read)
            await afterTheQueue()
            #expect(counts.value == 1)
        }
        await afterTheQueue()
        #expect(held == nil)
    }

    @Test("keeps itself while it is wanted, and a number that the kernel gives again is another watch's")
    func numbers() async throws {
        for round in 0..<500 {
            let (mine, theirs) = try LocalSocket.pair(.messages)
            let (told, continuation) = AsyncStream<Int>.makeStream()
            try DescriptorWatch(mine.descriptor, queue: queue) { watch, _ in
                watch.cancel()
                continuation.yield(round)
            }.want(.read)
            _ = try theirs.send([1])
            #expect(await first(told) == round)
        }
    }

    @Test("tells of a program's end once")
    func onExit() async throws {
        let counts = CountBox()
        for round in 1...20 {
            let (ended, continuation) = AsyncStream<ChildExit>.makeStream()
            try ChildProcess("/bin/sh", ["-c", "exit 7"]).onExit(queue: queue) {
                counts.add()
                continuation.yield($0)
            }
            #expect(await first(ended) == .code(7))
            #expect(counts.value == round)
        }
    }

    @Test("cannot be had of a file, which is always ready")
    func file() throws {
        let watch = try DescriptorWatch(Descriptor(opening: "/proc/self/exe", O_RDONLY), queue: queue) { _, _ in }
        // A second time, too: it is not taken for watched.
        for _ in 0..<2 { #expect(throws: SystemError.self) { try watch.want(.read) } }
    }
}

/// Counts.
private final class CountBox: Sendable {
    private let count = Atomic(0)
    var value: Int { count.load(ordering: .relaxed) }
    func add() { count.add(1, ordering: .relaxed) }
}
