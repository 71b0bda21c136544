package boot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/headwater/headwater/firmware/boot/site"
	"github.com/headwater/headwater/firmware/layout"
)

// everyAddress are settings of a box that its site says nothing of: it is there for
// others. A box without a site, or whose site is refused, lets in nobody but who asks
// how it is: it may have been meant to ask for passwords.
var everyAddress = map[string]string{
	"kafka.listen": "0.0.0.0:9092",
	"nats.listen":  "0.0.0.0:4222",
	"mqtt.listen":  "0.0.0.0:1883",
}

// readSite reads the site file of the boot partition. accepted is false when there is
// something wrong with it, and for a box that has none.
func readSite(path string) (s site.Site, accepted bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return site.Default(), false, nil
	}
	if err != nil {
		return site.Default(), false, fmt.Errorf("site file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, site.MaxBytes+1))
	if err == nil {
		s, err = site.Parse(data)
	}
	if err != nil {
		return site.Default(), false, err
	}
	return s, true, nil
}

// environment is what headwater serve is given beside its file.
func environment(s *site.Site, accepted bool, memory int64, advertise string) []string {
	settings := map[string]string{"admin.listen": "0.0.0.0:8080", "memory.limit": strconv.FormatInt(serveMemory(memory), 10)}
	if accepted {
		for name, value := range everyAddress {
			settings[name] = value
		}
	}
	if advertise != "" {
		settings["kafka.advertise"] = advertise
	}
	env := []string{"HOME=" + layout.DataMount, "TMPDIR=/tmp", variable("data.dir") + "=" + layout.DataDir}
	for name, value := range settings {
		if !s.Sets(name) {
			env = append(env, variable(name)+"="+value)
		}
	}
	return env
}

// variable is the name in the environment of a setting that has no capitals in it.
func variable(setting string) string {
	return "HEADWATER_" + strings.ToUpper(strings.ReplaceAll(setting, ".", "_"))
}

// serveMemory is what headwater serve may use of what the box has: the kernel, its
// page cache and PID 1 need the rest.
func serveMemory(total int64) int64 { return total / 10 * 6 }

// advertise is what Kafka clients are told when the settings do not say: the address
// that the box has, since its name means nothing to them. It is empty where the
// settings say something, or there is no address.
func advertise(serve Serve, address netip.Prefix) string {
	host, port, err := net.SplitHostPort(serve.Kafka)
	if err != nil || serve.Advertise != "" || !address.IsValid() {
		return ""
	}
	if ip, err := netip.ParseAddr(host); host != "" && (err != nil || !ip.IsUnspecified()) {
		return ""
	}
	return net.JoinHostPort(address.Addr().String(), port)
}

// probeAddress is where this machine reaches a port that listens on address.
func probeAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// writeFiles puts the site's files and settings below dir, which is in memory.
func writeFiles(dir string, s *site.Site) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, text := range s.Files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, site.SettingsFile), s.Settings, 0o600)
}
