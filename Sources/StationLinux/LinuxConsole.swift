import CLinux
import StationCore

/// The kernel's own text console.
package enum LinuxConsole {
    /// The characters that the console's font has; nil where the descriptor is no such console, or it does not say. Corresponds to
    /// `GIO_UNIMAP`.
    package static func characters(of number: Int32) -> Set<UInt16>? {
        var characters = [UInt16](repeating: 0, count: 16384)
        let count = station_console_characters(number, &characters, Int32(characters.count))
        return count > 0 ? Set(characters[..<Int(count)]) : nil
    }

    /// Minutes without a key after which the kernel blanks its consoles; 0 is never.
    package static func blankMinutes() -> Int {
        let seconds = SmallFile.attribute("/sys/module/kernel/parameters/consoleblank").flatMap { Int($0) }
        return (seconds ?? 0) / 60
    }
}
