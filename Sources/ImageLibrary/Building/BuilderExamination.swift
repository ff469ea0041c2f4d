import Glibc
package import StationCore
package import StationLinux

/// Asks an Image Builder what it can build.
package enum BuilderExamination {
    private static let outputLimit = 4 << 20
    private static let seconds = 180.0

    /// Runs `make info` in the sandbox. Blocks.
    /// - Parameters:
    ///   - tree: the builder's, which stays as it is.
    ///   - scratch: a directory that is not there yet, and is gone again afterwards.
    /// - Throws: `builder_info_failed`, `builder_info_invalid`, `sandbox_missing`, `sandbox_failed`, `import_stopped`.
    package static func info(
        tree: String, scratch: String, stop: Descriptor?
    ) throws(StationError) -> BuilderInfo {
        try MakeSandbox.check()
        guard mkdir(scratch, 0o700) == 0 else {
            throw ImageVault.unusable(scratch, SystemError("mkdir", scratch))
        }
        defer { FileTree.remove(scratch) }
        var limits = BuildLimits()
        limits.isOnline = false
        limits.seconds = seconds
        limits.diskByteCount = 1 << 30
        let sandbox = MakeSandbox(tree: tree, scratch: scratch, limits: limits, binds: [], stop: stop)
        var output: [UInt8] = []
        let end = try sandbox.run(["info"]) { bytes in
            if output.count < outputLimit { output += bytes }
        }
        let text = String(decoding: output, as: UTF8.self)
        switch end {
        case .exited(.code(0)): return try BuilderInfo(parsing: text)
        case .stopped: throw StationError("import_stopped", "it was stopped")
        default:
            let last = text.split(separator: "\n").suffix(3).joined(separator: " / ")
            if let refusal = SandboxFailure.explain(text) { throw refusal }
            throw StationError(
                "builder_info_failed", "make info failed: \(last.printable(limit: 300))",
                remedy:
                    "the archive may be damaged at its source, or a tool is missing: sudo apt install build-essential "
                    + "gawk unzip bzip2 wget python3 rsync file git zstd xz-utils perl")
        }
    }
}

/// What the sandbox's own programs say when they cannot begin.
enum SandboxFailure {
    /// Nil where it is make's output.
    static func explain(_ text: String) -> StationError? {
        guard
            let line = text.split(separator: "\n").first(where: { line in
                ["bwrap: ", "unshare: ", "prlimit: "].contains { line.hasPrefix($0) }
            })
        else { return nil }
        return StationError(
            "sandbox_failed", "a build cannot be shut in: \(String(line).printable(limit: 200))",
            remedy:
                "user namespaces must be allowed: sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces")
    }
}
