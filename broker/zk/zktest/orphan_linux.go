package zktest

import "syscall"

// notOrphaned lets the process end with the one that started it, also when that
// one has no chance to stop it.
func notOrphaned() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
