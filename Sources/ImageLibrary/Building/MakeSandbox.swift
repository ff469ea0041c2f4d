import Glibc
import StationCore
import StationLinux

/// Runs `make` in an Image Builder's tree, shut in by bubblewrap.
///
/// The tree stays as it is: what make writes goes to an overlay in the scratch directory, so that builds of one builder run side
/// by side. Inside there is the tree at `/builder`, the host's programs, and what is bound; no `/run`, no `/var`, no home, no
/// device, no privilege, no other user namespace, and no network unless it is asked for. Everything in it ends with it.
struct MakeSandbox {
    /// How a run ended.
    enum End: Equatable {
        case exited(ChildExit)
        case stopped
        case timedOut
        /// It wrote more than it may, in bytes; nil where it made what cannot be counted.
        case wroteTooMuch(UInt64?)
    }

    /// A directory of the host, and where it is inside.
    struct Bind {
        var host: String
        var inside: String
        var isWritable: Bool
    }

    static let builder = "/builder"
    /// Exit codes of the script that are none of make's.
    private static let overlayRefused: Int32 = 98
    private static let lookInterval: Int32 = 1000
    /// Who prints without end is not read without end: time and stop are looked at in between.
    private static let readsAtOnce = 64

    /// The builder, read only.
    let tree: String
    /// Empty, and on a file system that can be an overlay's upper layer; everything that is written is in it or in a bind.
    let scratch: String
    let limits: BuildLimits
    let binds: [Bind]
    let stop: Descriptor?

    /// Runs make with arguments, each handed over as it is. Blocks.
    /// - Parameter output: takes what it prints, both streams as one, as it comes.
    /// - Throws: `sandbox_missing`, `vault_unusable`.
    func run(_ arguments: [String], output: (UnsafeRawBufferPointer) -> Void) throws(StationError) -> End {
        for name in ["upper", "work", "merged", "tmp"] {
            guard mkdir("\(scratch)/\(name)", 0o700) == 0 || errno == EEXIST else {
                throw ImageVault.unusable(scratch, SystemError("mkdir", "\(scratch)/\(name)"))
            }
        }
        let end = try runOnce(arguments, isOverlay: true, output)
        guard end == .exited(.code(Self.overlayRefused)) else { return end }
        // A kernel that lets no user mount an overlay, or a file system that cannot carry one: then the builder is copied.
        let note = Array("station: no overlay can be mounted here, so the Image Builder is copied\n".utf8)
        note.withUnsafeBytes { output($0) }
        try copyTree()
        return try runOnce(arguments, isOverlay: false, output)
    }

    /// What make wrote in the builder's tree: over it, or in the copy of it where no overlay can be mounted.
    var writtenTree: String {
        // Where one is mounted only the sandbox sees it.
        let copied = SmallFile.names(in: "\(scratch)/merged") ?? []
        return "\(scratch)/\(copied.isEmpty ? "upper" : "merged")"
    }

    private func runOnce(
        _ arguments: [String], isOverlay: Bool, _ output: (UnsafeRawBufferPointer) -> Void
    ) throws(StationError) -> End {
        let (reader, writer) = try pipe()
        let child: ChildProcess
        let ending: Descriptor
        do {
            try Orphans.adopt()
        } catch { throw error.asStationError("internal_error") }
        do {
            child = try ChildProcess(
                "/usr/bin/prlimit", command(arguments, isOverlay: isOverlay), environment: ["LC_ALL": "C"],
                output: writer)
        } catch { throw Self.missing("prlimit", "util-linux", error) }
        do {
            ending = try child.endDescriptor()
        } catch { throw error.asStationError("internal_error") }
        return watch(child, ending, reader, output)
    }

    private func command(_ arguments: [String], isOverlay: Bool) -> [String] {
        let setUp = """
            umask 022
            if [ "$1" = overlay ]; then
                mount -t overlay overlay -o "lowerdir=$2,upperdir=$3/upper,workdir=$3/work,userxattr" "$4/merged" || exit \
            \(Self.overlayRefused)
            fi
            # Nobody is left who waits for it: what follows would outlive its request.
            [ "$(cut -d ' ' -f 4 /proc/$$/stat)" = "$5" ] || exit 99
            shift 5
            exec "$@"
            """
        return [
            "--nproc=\(limits.processCount)", "--fsize=\(limits.diskByteCount)", "--as=\(limits.memoryByteCount)",
            "--cpu=\(Int(limits.seconds))", "--core=0", "--", "/usr/bin/unshare", "--user", "--map-root-user",
            "--mount", "--", "/bin/sh", "-c", setUp,
            "sh", isOverlay ? "overlay" : "copy", Self.escaped(tree), Self.escaped(scratch), scratch, "\(getpid())",
            "/usr/bin/bwrap",
        ] + sandboxArguments + ["--", "/usr/bin/make", "-C", Self.builder] + arguments
    }

    private var sandboxArguments: [String] {
        // Its unit may make these, and no others (RestrictNamespaces=).
        var words = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--disable-userns"]
        if !limits.isOnline { words.append("--unshare-net") }
        words += ["--uid", "1000", "--gid", "1000"]
        words += ["--cap-drop", "ALL", "--die-with-parent", "--new-session", "--clearenv"]
        for (name, value) in [
            ("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"), ("HOME", Self.builder), ("LANG", "C"), ("LC_ALL", "C"),
            ("TERM", "dumb"),
        ] { words += ["--setenv", name, value] }
        words += ["--ro-bind", "/usr", "/usr"]
        for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
            // Links into /usr, as on every Debian since 12; directories elsewhere.
            if let target = SmallFile.link("/\(name)") {
                words += ["--symlink", target, "/\(name)"]
            } else {
                words += ["--ro-bind-try", "/\(name)", "/\(name)"]
            }
        }
        let configuration = [
            "alternatives", "ssl", "ca-certificates", "ca-certificates.conf", "ld.so.cache", "ld.so.conf",
            "ld.so.conf.d", "localtime", "perl", "python3", "magic", "magic.mime",
        ]
        let network = ["resolv.conf", "hosts", "nsswitch.conf", "services", "protocols", "gai.conf"]
        for name in configuration + (limits.isOnline ? network : []) {
            words += ["--ro-bind-try", "/etc/\(name)", "/etc/\(name)"]
        }
        words += ["--proc", "/proc", "--dev", "/dev", "--bind", "\(scratch)/tmp", "/tmp"]
        words += ["--bind", "\(scratch)/merged", Self.builder]
        for bind in binds { words += [bind.isWritable ? "--bind" : "--ro-bind", bind.host, bind.inside] }
        return words + ["--chdir", Self.builder]
    }

    /// Reads what it prints until it has ended, or is ended.
    private func watch(
        _ child: ChildProcess, _ ending: Descriptor, _ reader: Descriptor,
        _ output: (UnsafeRawBufferPointer) -> Void
    ) -> End {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 * 1024, alignment: 16)
        defer { buffer.deallocate() }
        let until = SystemClock.monotonicSeconds() + limits.seconds
        var lastLook = SystemClock.monotonicSeconds()
        func drain() {
            for _ in 0..<Self.readsAtOnce {
                guard let count = try? reader.read(into: buffer), count > 0 else { return }
                output(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            }
        }
        /// Nothing of it is left afterwards: what is in the process namespace ends with its first process, and that one with this
        /// one, unless it was only just being made, or is slow to go.
        func over() -> ChildExit {
            let exit = child.wait()
            Orphans.end()
            drain()
            return exit
        }
        func ended(_ end: End) -> End {
            child.signal(SIGKILL)
            _ = over()
            return end
        }
        var events = [reader.number, ending.number, stop?.number ?? -1].map {
            pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
        }
        while true {
            _ = poll(&events, 3, Self.lookInterval)
            if events[0].revents != 0 {
                drain()
                // Closed at the other end: only the end itself is waited for from here on.
                if events[0].revents & Int16(POLLHUP) != 0 { events[0].fd = -1 }
            }
            if events[2].revents != 0 { return ended(.stopped) }
            if events[1].revents != 0 { return .exited(over()) }
            let now = SystemClock.monotonicSeconds()
            if now > until { return ended(.timedOut) }
            if now - lastLook >= 1 {
                let written = written
                if written.byteCount > limits.diskByteCount { return ended(.wroteTooMuch(written.byteCount)) }
                if !written.isWhole { return ended(.wroteTooMuch(nil)) }
                // Counting many files takes its time, too.
                lastLook = SystemClock.monotonicSeconds() + min(10, 4 * (SystemClock.monotonicSeconds() - now))
            }
        }
    }

    /// What it wrote so far. The overlay's own directory beside it has what nobody else may look at, and nothing of the build's.
    private var written: (byteCount: UInt64, isWhole: Bool) {
        let places = ["upper", "merged", "tmp"].map { "\(scratch)/\($0)" } + binds.filter(\.isWritable).map(\.host)
        return places.map(FileTree.size).reduce((0, true)) { ($0.0 + $1.byteCount, $0.1 && $1.isWhole) }
    }

    private func copyTree() throws(StationError) {
        let child: ChildProcess
        do {
            child = try ChildProcess(
                "/bin/cp", ["-a", "--reflink=auto", "--", "\(tree)/.", "\(scratch)/merged"],
                environment: ["LC_ALL": "C"])
        } catch { throw error.asStationError("internal_error") }
        guard child.wait() == .code(0) else {
            throw StationError(
                "storage_full", "the Image Builder cannot be copied to work in",
                remedy: "see the disk that \(scratch.printable()) is on: df -h")
        }
    }

    private func pipe() throws(StationError) -> (Descriptor, Descriptor) {
        do {
            let (reader, writer) = try Descriptor.pipe()
            _ = try retrying("fcntl", "pipe") { fcntl(reader.number, F_SETFL, O_NONBLOCK) }
            return (reader, writer)
        } catch { throw error.asStationError("internal_error") }
    }

    /// In an overlay's options a comma ends one, and a colon a layer.
    private static func escaped(_ path: String) -> String {
        path.replacing("\\", with: "\\\\").replacing(":", with: "\\:").replacing(",", with: "\\,")
    }

    private static func missing(_ program: String, _ package: String, _ error: SystemError) -> StationError {
        StationError(
            "sandbox_missing", "\(program) cannot be run: \(SystemError.text(error.number))",
            remedy: "sudo apt install \(package)")
    }

    /// Whether what shuts builds in is there.
    /// - Throws: `sandbox_missing`, with the package to install.
    static func check() throws(StationError) {
        for (path, package) in [
            ("/usr/bin/bwrap", "bubblewrap"), ("/usr/bin/make", "make"), ("/usr/bin/unshare", "util-linux"),
            ("/usr/bin/prlimit", "util-linux"),
        ] where access(path, X_OK) != 0 { throw missing(path, package, SystemError("access", path)) }
    }
}
