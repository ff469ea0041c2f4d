import CLinux
import Glibc

/// Processes whose parent ended before them, and that nobody would end any more.
///
/// `bwrap --die-with-parent` asks the kernel for its own end some time after it was forked: killed in between, its first process
/// stays, and what runs inside with it. So whoever kills a sandbox adopts what is left of it, and ends that too.
package enum Orphans {
    /// From now on the orphans among this process's descendants become its children. Corresponds to
    /// `prctl(PR_SET_CHILD_SUBREAPER)`.
    package static func adopt() throws(SystemError) {
        let result = station_adopt_orphans()
        guard result == 0 else { throw SystemError("prctl", "PR_SET_CHILD_SUBREAPER", number: -result) }
    }

    /// Kills every child of this process and waits for its end, until there is none; so none may be anybody's else. Blocks.
    package static func end() {
        while true {
            let children = self.children
            if children.isEmpty { return }
            for child in children { kill(child, SIGKILL) }
            for child in children { while waitpid(child, nil, 0) < 0 && errno == EINTR {} }
        }
    }

    private static var children: [Int32] {
        let own = getpid()
        return (SmallFile.names(in: "/proc") ?? []).compactMap(Int32.init).filter { parent(of: $0) == own }
    }

    /// nil of a process that has gone.
    private static func parent(of process: Int32) -> Int32? {
        guard let line = SmallFile.attribute("/proc/\(process)/stat"),
            // The program's name stands in brackets, and may hold any character.
            let nameEnd = line.lastIndex(of: ")")
        else { return nil }
        let fields = line[nameEnd...].split(separator: " ")
        return fields.count > 2 ? Int32(fields[2]) : nil
    }
}
