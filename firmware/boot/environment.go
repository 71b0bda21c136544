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
	"slices"
	"strconv"
	"strings"

	"github.com/headwater/headwater/firmware/boot/site"
	"github.com/headwater/headwater/firmware/layout"
)

// readSite reads the site file of the boot partition. It is the default where there is
// none, and beside an error.
func readSite(path string) (s site.Site, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return site.Default(), nil
	}
	if err != nil {
		return site.Default(), fmt.Errorf("site file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, site.MaxBytes+1))
	if err == nil {
		s, err = site.Parse(data)
	}
	if err != nil {
		return site.Default(), err
	}
	return s, nil
}

// doors are the settings that let others than this box in, but for who asks how it is.
var doors = []string{"kafka.listen", "nats.listen", "mqtt.listen"}

// closed reports whether the site opens none of them.
func closed(s *site.Site) bool { return !slices.ContainsFunc(doors, s.Sets) }

// environment is what headwater serve is given beside its file. A box is asked how it
// is from the network; devices and clients come in where its site says so.
func environment(s *site.Site, memory int64, advertise string) []string {
	settings := map[string]string{"admin.listen": "0.0.0.0:8080", "memory.limit": strconv.FormatInt(serveMemory(memory), 10)}
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
