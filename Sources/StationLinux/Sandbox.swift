import CLinux
import Glibc

/// Doors that a process closes behind itself.
package enum Sandbox {
    /// After this the process and its threads can open no file and use no system call but those that move bytes between
    /// descriptors it has.
    ///
    /// - Returns: what this kernel does not have, such as `landlock`; empty where everything took hold.
    /// - Throws: `SystemError` when the kernel has it and refuses.
    package static func closeFiles() throws(SystemError) -> [String] {
        var missing: [String] = []
        let doors: [(String, () -> Int32)] = [
            ("no_new_privs", station_no_new_privileges), ("landlock", station_landlock_no_files),
            ("seccomp", station_seccomp_writer),
        ]
        for (name, close) in doors {
            let result = close()
            if result == -ENOSYS || result == -EOPNOTSUPP {
                missing.append(name)
            } else if result < 0 {
                throw SystemError(name, "", number: -result)
            }
        }
        return missing
    }
}
