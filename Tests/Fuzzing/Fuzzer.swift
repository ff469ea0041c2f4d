import Glibc

// What libFuzzer calls. `packaging/fuzz` builds the program that these are part of; its main function is libFuzzer's own.

/// The target of this process: `--target=NAME` on the command line, which libFuzzer hands on to the processes that it begins.
private let target: FuzzTarget = {
    let name = CommandLine.arguments.first { $0.hasPrefix("--target=") }.map { String($0.dropFirst(9)) } ?? ""
    guard let target = FuzzTarget.named(name) else {
        print("fuzzer: --target= is none of: \(FuzzTarget.all.map(\.name).joined(separator: " "))")
        exit(2)
    }
    return target
}()

/// Answers the questions of `packaging/fuzz`, and ends; else makes the target ready.
@_cdecl("LLVMFuzzerInitialize")
public func initialize(_: UnsafeMutableRawPointer?, _: UnsafeMutableRawPointer?) -> CInt {
    if CommandLine.arguments.contains("--list") {
        for target in FuzzTarget.all { print("\(target.name) \(target.lengthLimit)") }
        exit(0)
    }
    if CommandLine.arguments.contains("--words") {
        for word in target.words { print(quoted(word)) }
        exit(0)
    }
    _ = target
    return 0
}

/// Takes one input; what does not hold ends the process, as whatever traps does.
@_cdecl("LLVMFuzzerTestOneInput")
public func takeInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    do { try target.take(Array(UnsafeBufferPointer(start: bytes, count: count))) } catch {
        fatalError("\(target.name): \(error)")
    }
    return 0
}

/// As dictionaries of libFuzzer have it.
private func quoted(_ word: String) -> String {
    let bytes = word.utf8.map { byte in
        let digits = String(byte, radix: 16)
        return "\\x" + (digits.utf8.count < 2 ? "0" : "") + digits
    }
    return "\"\(bytes.joined())\""
}
