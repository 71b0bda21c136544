package update

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/headwater/headwater/firmware/layout"
)

// Manifest is what a bundle says of itself, and what its signature covers.
type Manifest struct {
	Version    string    `json:"version"`
	Compatible string    `json:"compatible"` // which boxes it is for, such as headwater-arm64-efi
	Created    time.Time `json:"created"`
	Kernel     Payload   `json:"kernel"`
	Root       Payload   `json:"root"` // a squashfs
}

// Payload is a file in a bundle: as it will lie in a slot, and packed (zstd).
type Payload struct {
	Bytes        int64  `json:"bytes"`
	SHA256       string `json:"sha256"` // hex
	PackedBytes  int64  `json:"packedBytes"`
	PackedSHA256 string `json:"packedSha256"` // hex
}

// maxManifestBytes is far above what one takes.
const maxManifestBytes = 16 << 10

var compatibleForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// parseManifest reads one and holds all of it against limits. Fields that are not known
// are passed over, so that a later release can say more.
func parseManifest(text []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return Manifest{}, fmt.Errorf("%w: its manifest cannot be read: %w", ErrNotBundle, err)
	}
	if err := m.validate(); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrNotBundle, err)
	}
	return m, nil
}

func (m Manifest) validate() error {
	if _, err := parseVersion(m.Version); err != nil {
		return err
	}
	if !compatibleForm.MatchString(m.Compatible) {
		return fmt.Errorf("%.80q is no kind of box; allowed are lower-case letters, digits and ._- up to 64, such as headwater-arm64-efi", m.Compatible)
	}
	return errors.Join(m.Kernel.validate("kernel", layout.BootBytes), m.Root.validate("root", layout.RootBytes))
}

func (p Payload) validate(name string, most int64) error {
	for _, n := range []int64{p.Bytes, p.PackedBytes} {
		if n < 1 || n > most {
			return fmt.Errorf("its %s has %d bytes; allowed is from 1 to %d", name, n, most)
		}
	}
	for _, sum := range []string{p.SHA256, p.PackedSHA256} {
		if raw, err := hex.DecodeString(sum); err != nil || len(raw) != 32 {
			return fmt.Errorf("its %s has no SHA-256 that can be read", name)
		}
	}
	return nil
}
