import Glibc

/// The first three descriptors of a process, which whoever started it may have closed.
package enum StandardStreams {
    /// Fills the gaps before anything else is opened: a file, or a socket, that got the number of standard output would be
    /// written into by whatever the program has to say. What is filled cannot be used: reading from it, or writing to it,
    /// fails as it did before; standard error says nothing.
    package static func fillGaps() {
        for (number, flags) in [(0, O_WRONLY), (1, O_RDONLY), (2, O_WRONLY)] as [(Int32, Int32)]
        where fcntl(number, F_GETFD) < 0 {
            // The lowest number that is free, which is this one.
            _ = Glibc.open("/dev/null", flags)
        }
    }
}
