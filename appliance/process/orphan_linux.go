package process

import "syscall"

// notOrphaned lets the process end with the one that started it, also when that
// one has no chance to stop it. One that is apart has a process group of its own.
func notOrphaned(apart bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: apart}
}
