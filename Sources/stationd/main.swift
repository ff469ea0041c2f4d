import Glibc

// libdispatch gives its threads priorities, which this daemon may not have and does not need, and says so in the journal for
// each thread, every few seconds. It looks here before its first word.
setenv("LIBDISPATCH_LOG", "NO", 0)
exit(Daemon.run(Array(CommandLine.arguments.dropFirst())))
