import FoundationEssentials
import Glibc
import StationCore
import StationLinux

/// Where stationctl writes: plain text into a pipe, colours on a terminal that has them and a person who wants them.
struct Console {
    /// What the option `--color` says.
    enum ColorChoice: String, CaseIterable { case auto, always, never }

    enum Style: Sendable {
        case plain, good, bad, attention, active, faint, strong
        /// Words that are to be read from afar, on a ground of their colour.
        case goodWord, badWord, attentionWord
        /// A ground to be seen from afar, and what stands on it.
        case goodTile, badTile, attentionTile, activeTile, bar

        var code: String {
            switch self {
            case .plain: ""
            case .good: "1;32"
            case .bad: "1;31"
            case .attention: "33"
            case .active: "36"
            case .faint: "2"
            case .strong: "1"
            case .goodWord: "1;7;32"
            case .badWord: "1;7;31"
            case .attentionWord: "1;7;33"
            // Not inverse: of a bold and inverse letter the Linux console makes a grey one.
            case .goodTile: "30;42"
            case .badTile: "1;37;41"
            case .attentionTile: "30;43"
            case .activeTile: "30;46"
            case .bar: "1;37;40"
            }
        }

        /// Without colour.
        var plainCode: String {
            switch self {
            case .goodWord, .badWord, .attentionWord: "1;7"
            case .goodTile, .badTile, .attentionTile: "7"
            case .strong: "1"
            default: ""
            }
        }
    }

    /// What a terminal is told besides the text.
    private enum Attributes { case none, withoutColor, all }

    let isTerminal = isatty(1) == 1
    /// Whether the locale has more than ASCII.
    let isUnicode: Bool
    /// Whether it is the kernel's own console, which has a bell of any pitch and blanks itself.
    let isLinuxConsole: Bool
    /// The characters that its font has; nil for any other terminal, which has all.
    private let font: Set<UInt16>?
    private var attributes: Attributes
    private let canDraw: Bool

    init(color: ColorChoice = .auto) {
        let environment = ChildProcess.environment
        let isDumb = ["", "dumb"].contains(environment["TERM"] ?? "")
        let forbids = !(environment["NO_COLOR"] ?? "").isEmpty || isDumb
        switch color {
        case .auto: attributes = isTerminal && !forbids ? .all : .none
        case .always: attributes = .all
        case .never: attributes = .none
        }
        canDraw = isTerminal && !isDumb
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].compactMap { environment[$0] }.first { !$0.isEmpty } ?? "C"
        isUnicode = locale.uppercased().contains("UTF-8") || locale.uppercased().contains("UTF8")
        isLinuxConsole = isTerminal && environment["TERM"] == "linux"
        font = isLinuxConsole ? LinuxConsole.characters(of: 1) ?? Self.characters : nil
    }

    /// For a picture that is drawn with escape codes anyway: who wants no colour still gets bold and inverse words.
    var forDrawing: Console {
        var console = self
        if console.attributes == .none { console.attributes = .withoutColor }
        return console
    }

    /// Whether a picture can be drawn and redrawn, rather than line after line.
    var isScreen: Bool { canDraw }

    /// Columns and rows of the terminal; 80 and 24 where it does not say.
    var size: (columns: Int, rows: Int) {
        var window = winsize()
        guard isTerminal, ioctl(1, UInt(TIOCGWINSZ), &window) == 0, window.ws_col > 0, window.ws_row > 0 else {
            return (80, 24)
        }
        return (Int(window.ws_col), Int(window.ws_row))
    }

    /// The columns that text has to fit in; nil in a pipe, where nothing is wrapped or cut.
    var width: Int? { isTerminal ? size.columns : nil }

    func styled(_ text: String, _ style: Style) -> String {
        let code = attributes == .all ? style.code : attributes == .withoutColor ? style.plainCode : ""
        return code.isEmpty || text.isEmpty ? text : "\u{1B}[\(code)m\(text)\u{1B}[0m"
    }

    // MARK: Writing

    func text(_ text: String) { write(shown(text), to: 1) }
    func line(_ text: String = "") { self.text(text + "\n") }

    /// Text that is indented and wrapped on a terminal, and one line in a pipe.
    /// - Parameter first: stands in place of the first line's indentation; as wide as it.
    func paragraph(_ text: String, indent: Int = 0, first: String? = nil) {
        let space = String(repeating: " ", count: indent)
        let lines = width.map { text.wrapped(to: max(20, $0 - indent)) } ?? [text]
        for (index, line) in lines.enumerated() { self.line((index == 0 ? first ?? space : space) + line) }
    }

    /// A line on standard error.
    func note(_ text: String) { write(shown(text + "\n"), to: 2) }

    /// What went wrong, and what to do about it, on standard error.
    func problem(_ message: String, remedy: String) {
        // Never wrapped here: what to do is often a command, and is to be copied in one piece.
        note(message.printable(limit: 2000))
        if !remedy.isEmpty { note("  what to do: \(remedy.printable(limit: 2000))") }
    }

    /// One JSON value.
    /// - Parameter inOneLine: for streams of values.
    func json(_ value: some Encodable, inOneLine: Bool = false) {
        let encoder = JSONEncoder()
        encoder.outputFormatting =
            inOneLine
            ? [.sortedKeys, .withoutEscapingSlashes] : [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
        guard let data = try? encoder.encode(value) else { return }
        write(String(decoding: data, as: UTF8.self) + "\n", to: 1)
    }

    /// Text for another program, exactly as it is.
    func data(_ text: String) { write(text, to: 1) }

    /// Replaces the line the cursor is in; for terminals.
    func redraw(_ line: String) { write("\r\u{1B}[K" + shown(line), to: 1) }

    /// The text as locale and font can show it, in as many columns as far as that can be.
    func shown(_ text: String) -> String {
        guard !isUnicode || font != nil, !text.utf8.allSatisfy({ $0 < 128 }) else { return text }
        return text.reduce(into: "") { $0 += has($1) ? String($1) : Self.substitutes[$1] ?? "?" }
    }

    /// Whether locale and font have a character.
    func has(_ character: Character) -> Bool {
        if character.isASCII { return true }
        guard isUnicode, let font else { return isUnicode }
        return character.unicodeScalars.allSatisfy { scalar in UInt16(exactly: scalar.value).map(font.contains) ?? false
        }
    }

    /// What every font of a console has, beyond ASCII.
    private static let characters = Set("█░─│┌┐└┘·→".utf16)

    private static let substitutes: [Character: String] = [
        "…": "...", "–": "-", "—": "-", "→": ">", "“": "\"", "”": "\"", "’": "'", "·": ".", "×": "x", "█": "#",
        "░": ".",
        "↑": "^", "↓": "v", "≥": ">", "─": "-", "│": "|", "┌": "+", "┐": "+", "└": "+", "┘": "+",
    ]

    /// Whether the upper and the lower half of a cell can be drawn. Debian's console fonts have whole blocks only.
    var hasHalfBlocks: Bool { has("▀") && has("▄") }

    /// Stands where something was cut out.
    var cutMark: String { has("…") ? "…" : "~" }

    private func write(_ text: String, to number: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(number, $0.baseAddress, $0.count) }
            if count >= 0 {
                bytes = bytes.dropFirst(count)
            } else if errno != EINTR {
                // What went wrong is still told by the exit code.
                guard number == 1 else { return }
                Self.giveUp(errno)
            }
        }
    }

    /// No command goes on for nothing: nobody reads any more, which is no error to talk about, or the disk is full.
    private static func giveUp(_ number: Int32) -> Never {
        if number == EPIPE { endUnread() }
        let text = "stationctl: the output cannot be written: \(SystemError.text(number))\n"
        _ = Array(text.utf8).withUnsafeBytes { Glibc.write(2, $0.baseAddress, $0.count) }
        exit(ExitCode.failure.rawValue)
    }

    /// Ends as a program does whose output nobody reads any more.
    static func endUnread() -> Never {
        signal(SIGPIPE, SIG_DFL)
        raise(SIGPIPE)
        exit(ExitCode.failure.rawValue)
    }
}
