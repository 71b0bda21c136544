package update

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sibling returns the device name of the partition called label that is on the same disk
// as the partition major:minor, as sysfs (its dev/block) tells.
func sibling(sys string, major, minor uint32, label string) (name string, err error) {
	at, err := filepath.EvalSymlinks(filepath.Join(sys, fmt.Sprintf("%d:%d", major, minor)))
	if err != nil {
		return "", fmt.Errorf("find the disk of the boot partition: %w", err)
	}
	parts, err := os.ReadDir(filepath.Dir(at))
	if err != nil {
		return "", fmt.Errorf("find the disk of the boot partition: %w", err)
	}
	var found []string
	for _, part := range parts {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(at), part.Name(), "uevent"))
		if err != nil {
			continue // no partition
		}
		values := map[string]string{}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			values[key] = value
		}
		if values["PARTNAME"] == label && values["DEVNAME"] != "" {
			found = append(found, values["DEVNAME"])
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%w: the disk of the boot partition has %d partitions called %s", ErrNoFirmware, len(found), label)
	}
	return found[0], nil
}
