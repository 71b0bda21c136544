//go:build !linux

package process

import "syscall"

func notOrphaned(bool) *syscall.SysProcAttr { return nil }
