//go:build !linux

package zktest

import "syscall"

func notOrphaned() *syscall.SysProcAttr { return nil }
