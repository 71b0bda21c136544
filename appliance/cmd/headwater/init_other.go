//go:build !linux

package main

// bringUpMachine does nothing: boxes run Linux.
func bringUpMachine() {}
