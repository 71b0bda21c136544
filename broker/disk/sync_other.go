//go:build !linux

package disk

// Sync is (*os.File).Sync, which also knows what macOS needs.
func (f osFile) Sync() error { return f.File.Sync() }
