import CLinux
@preconcurrency package import Dispatch
import Glibc

/// How a program ended.
package enum ChildExit: Equatable, Sendable {
    case code(Int32)
    case signal(Int32)
}

/// A program that this process started.
package final class ChildProcess: Sendable {
    package let processID: Int32

    /// Starts a program. Its descriptors 0, 1, 2 are `/dev/null` and this process's output; those given come from 3 on.
    /// Its signals are as if from a shell: libdispatch's blocked mask is not inherited.
    /// - Parameter output: its descriptors 1 and 2 instead of this process's.
    /// - Throws: `SystemError` of `execve`.
    package init(
        _ path: String, _ arguments: [String], environment: [String: String]? = nil, descriptors: [Descriptor] = [],
        output: Descriptor? = nil
    )
        throws(SystemError)
    {
        let environment = environment ?? Self.environment
        var argv = ([path] + arguments).map { strdup($0) } + [nil]
        var envp = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer {
            argv.forEach { free($0) }
            envp.forEach { free($0) }
        }
        let numbers: [Int32] = [-1, output?.number ?? 1, output?.number ?? 2] + descriptors.map(\.number)
        let result = station_spawn(path, &argv, &envp, numbers, Int32(numbers.count))
        guard result > 0 else { throw SystemError("execve", path, number: -result) }
        processID = result
    }

    /// What a program prints, both streams as one, and how it ended; at most `limit` bytes of it. Blocks until it has ended.
    package static func output(
        of path: String, _ arguments: [String], descriptors: [Descriptor] = [], limit: Int = 256 * 1024
    ) throws(SystemError) -> (text: String, exit: ChildExit) {
        let (child, reader) = try startPiped(path, arguments, descriptors)
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 * 1024)
        while let count = try? chunk.withUnsafeMutableBytes({ try reader.read(into: $0) }), count > 0 {
            if bytes.count < limit { bytes += chunk[..<count] }
        }
        return (String(decoding: bytes.prefix(limit), as: UTF8.self), child.wait())
    }

    /// The end of the pipe that the program writes to must not outlive this call: else reading would never end.
    private static func startPiped(
        _ path: String, _ arguments: [String], _ descriptors: [Descriptor]
    ) throws(SystemError) -> (ChildProcess, Descriptor) {
        let (reader, writer) = try Descriptor.pipe()
        return (try ChildProcess(path, arguments, descriptors: descriptors, output: writer), reader)
    }

    /// This process's environment.
    package static var environment: [String: String] {
        var result: [String: String] = [:]
        guard var entry = station_environment() else { return result }
        while let text = entry.pointee {
            let pair = String(cString: text).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if pair.count == 2 { result[String(pair[0])] = String(pair[1]) }
            entry += 1
        }
        return result
    }

    /// Sends a signal; nothing happens when it has ended.
    package func signal(_ number: Int32) { kill(processID, number) }

    /// Waits for the end. Blocks.
    package func wait() -> ChildExit {
        var status: Int32 = 0
        while waitpid(processID, &status, 0) < 0 && errno == EINTR {}
        var signal: Int32 = 0
        let code = station_exit_code(status, &signal)
        return signal != 0 ? .signal(signal) : .code(code)
    }

    /// Something to poll for its end. Corresponds to `pidfd_open(2)`.
    package func endDescriptor() throws(SystemError) -> Descriptor {
        Descriptor(owning: try retrying("pidfd_open", "\(processID)") { station_pidfd_open(processID) })
    }

    /// Calls back once when the program has ended, on the queue. Where the kernel cannot tell of its end, it ends here.
    package func onExit(queue: DispatchQueue, _ handler: @escaping @Sendable (ChildExit) -> Void) throws(SystemError) {
        do throws(SystemError) {
            let watch = try DescriptorWatch(endDescriptor(), queue: queue) { watch, _ in
                watch.cancel()
                handler(self.wait())
            }
            try watch.want(.read)
        } catch {
            signal(SIGKILL)
            _ = wait()
            throw error
        }
    }
}
