import Glibc
import StationCore
import StationLinux

/// The whole terminal as a picture, and its keys. What was on it before comes back when it is closed.
final class Screen {
    enum Key: Equatable { case quit, up, down, pageUp, pageDown, top, bottom, redraw }

    private let console: Console
    private let isWall: Bool
    private var before: termios?
    private var blankMinutes = 0

    /// - Parameter isWall: nobody sits before it. It is not blanked, no key stops it, and nothing of it stays when it is closed.
    init(_ console: Console, isWall: Bool = false) {
        self.console = console
        self.isWall = isWall
    }

    deinit { close() }

    /// Takes the terminal over: another screen, no cursor, no line ends that wrap, keys without echo.
    func open() {
        var settings = termios()
        if tcgetattr(0, &settings) == 0 {
            before = settings
            settings.c_lflag &= ~tcflag_t(ICANON | ECHO)
            // Ctrl-S would leave a picture standing that looks as if it were of now.
            if isWall { settings.c_iflag &= ~tcflag_t(IXON) }
            tcsetattr(0, TCSANOW, &settings)
        }
        isOpen = true
        var text = "\u{1B}[?1049h\u{1B}[?25l\u{1B}[?7l\u{1B}[2J"
        if isWall, console.isLinuxConsole {
            blankMinutes = LinuxConsole.blankMinutes()
            text = Self.neverBlank + Self.palette + text
        }
        console.data(text)
    }

    /// Neither blanked nor powered down, and lit if it was: `setterm --blank 0 --powerdown 0`.
    private static let neverBlank = "\u{1B}[9;0]\u{1B}[14;0]\u{1B}[13]"
    /// Colours that tell from afar: the console's own yellow is a brown.
    private static let palette = "\u{1B}]P1c80000\u{1B}]P200b400\u{1B}]P3ffb000\u{1B}]P600a0c8"

    private(set) var isOpen = false

    /// Gives the terminal back as it was.
    func close() {
        guard isOpen else { return }
        isOpen = false
        var text = "\u{1B}[?7h\u{1B}[?25h\u{1B}[?1049l"
        if console.isLinuxConsole {
            text += Self.usualBell
            // It has no other screen: a verdict would be read long after there is somebody who vouches for it.
            if isWall { text += "\u{1B}[9;\(blankMinutes)]\u{1B}]R\u{1B}[0m\u{1B}[H\u{1B}[2J" }
        }
        console.data(text)
        if var before { tcsetattr(0, TCSANOW, &before) }
    }

    /// Shows lines that fill the screen, in one write: each over what was there and nothing erased before, so that nothing
    /// flickers.
    func draw(_ lines: [String]) {
        console.data("\u{1B}[H" + lines.map { console.shown($0) }.joined(separator: "\r\n"))
    }

    /// Rings the terminal's bell: the Linux console's with this tone, any other as it is. Does not wait for its end.
    func sound(_ tone: Chime.Tone) {
        let pitch = "\u{1B}[10;\(tone.hertz)]\u{1B}[11;\(tone.milliseconds)]"
        console.data((console.isLinuxConsole ? pitch : "") + "\u{07}")
    }

    private static let usualBell = "\u{1B}[10]\u{1B}[11]"

    /// Whether keys can be read at all.
    var hasKeys: Bool { before != nil }

    /// The keys that were pressed. To be called when descriptor 0 is readable.
    /// - Returns: nil when there is no keyboard any more.
    func keys() -> [Key]? {
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = bytes.withUnsafeMutableBytes { read(0, $0.baseAddress, $0.count) }
        guard count > 0 else { return count < 0 && errno == EINTR ? [] : nil }
        return Self.keys(String(decoding: bytes[..<count], as: UTF8.self))
    }

    private static let sequences: [(String, Key)] = [
        ("\u{1B}[A", .up), ("\u{1B}OA", .up), ("\u{1B}[B", .down), ("\u{1B}OB", .down), ("\u{1B}[5~", .pageUp),
        ("\u{1B}[6~", .pageDown), ("\u{1B}[H", .top), ("\u{1B}[F", .bottom), ("\u{1B}[1~", .top),
        ("\u{1B}[4~", .bottom),
        ("q", .quit), ("Q", .quit), ("k", .up), ("j", .down), (" ", .pageDown), ("b", .pageUp), ("g", .top),
        ("G", .bottom),
        ("\u{0C}", .redraw),
    ]

    private static func keys(_ text: String) -> [Key] {
        var rest = text[...]
        var keys: [Key] = []
        while !rest.isEmpty {
            if let (sequence, key) = sequences.first(where: { rest.hasPrefix($0.0) }) {
                keys.append(key)
                rest = rest.dropFirst(sequence.count)
            } else {
                rest = rest.dropFirst()
            }
        }
        return keys
    }
}
