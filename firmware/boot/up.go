package boot

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/headwater/headwater/firmware/boot/clock"
	"github.com/headwater/headwater/firmware/boot/site"
	"github.com/headwater/headwater/firmware/layout"
)

// bringUp makes the machine ready for headwater serve. What can be done without is
// logged when it fails; the data partition cannot. ctx is that of all that goes on in
// the background from here on.
func (b *box) bringUp(ctx context.Context) error {
	b.keepTime(time.Time{}).Start() // so that logs begin somewhere near
	b.try("interface lo not up", b.m.Loopback())
	b.readBoot(ctx)
	b.background.Go(func() {
		b.m.Network(ctx, b.site, b.resolvConf(), b.log, b.network.set)
	})
	b.openUpdate()
	if err := b.mountData(ctx); err != nil {
		return err
	}
	if b.update != nil {
		b.try("not noted what became of the last update", b.update.Settle())
	}
	b.try("log not kept", b.ring.Open(b.places.logs))
	b.background.Go(func() { b.ring.Keep(ctx.Done()) })
	saved, err := clock.Saved(b.places.state)
	b.try("last time known not used", err)
	keeper := b.keepTime(saved)
	keeper.Start()
	b.background.Go(func() { keeper.Run(ctx) })
	b.background.Go(func() { b.saveTime(ctx) })
	return nil
}

// try logs what failed and can be done without.
func (b *box) try(what string, err error) {
	if err != nil {
		b.log.Error(what, "err", err)
	}
}

// readBoot mounts the boot partition and learns from it what this site wants.
func (b *box) readBoot(ctx context.Context) {
	b.guard.well(stageLimit)
	device, err := b.m.Partition(ctx, layout.BootLabel)
	if err == nil {
		err = b.m.Mount(bootMount(device))
	}
	b.try("boot partition not mounted; the site is not known", err)
	b.site, b.siteErr = readSite(filepath.Join(b.places.boot, layout.SitePath))
	b.try("hostname not set", b.m.SetHostname(b.site.Hostname))
	b.try("resolver not set up", b.mountEtc(b.site))
	b.checkSettings()
	b.tellSite()
}

// tellSite says on the console why nobody comes in, where nobody does.
func (b *box) tellSite() {
	if b.siteErr == nil {
		if closed(&b.site) {
			b.log.Info("no port is open to the network but the admin port; the site file says below settings which are to be", "settings", doors)
		}
		return
	}
	for line := range strings.Lines(b.siteErr.Error()) {
		b.log.Error("site file refused; the box starts with defaults, and nobody is let in", "err", strings.TrimSpace(line))
	}
}

// checkSettings writes the files of the site, and has the settings checked. Those that
// are refused count for nothing.
func (b *box) checkSettings() {
	var err error
	for range 2 {
		if err = writeFiles(b.places.run, &b.site); err == nil {
			b.serve, err = b.Settings(b.settingsFile(), environment(&b.site, b.m.Memory(), ""))
		}
		if err == nil {
			return
		}
		b.siteErr = errors.Join(b.siteErr, err)
		b.site.ForgetSettings()
	}
	b.serve = Serve{Admin: "127.0.0.1:8080"}
}

func (b *box) settingsFile() string { return filepath.Join(b.places.run, site.SettingsFile) }

// mountData checks the data partition, lets it have all of the disk, and mounts it.
func (b *box) mountData(ctx context.Context) error {
	b.guard.well(stageLimit)
	device, err := b.m.Partition(ctx, layout.DataLabel)
	if err != nil {
		return fmt.Errorf("data partition: %w", err)
	}
	grown, err := b.m.GrowPartition(device, layout.DataLabel)
	b.try("data partition not grown", err)
	if grown {
		b.log.Info("data partition grown to the end of the disk")
	}
	b.guard.well(checkLimit + stageLimit)
	checking, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	repaired, err := b.m.Check(checking, device)
	b.try("data partition not found to be whole", err)
	if repaired {
		b.log.Warn("data partition repaired")
	}
	b.guard.well(stageLimit)
	if err := b.m.Mount(dataMount(device)); err != nil {
		return fmt.Errorf("mount the data partition %s: %w", device, err)
	}
	b.mounted = true
	b.try("file system of the data partition not grown", b.m.GrowFS(layout.DataMount, device))
	return nil
}

// defaultNTP are asked when neither the site nor the network names one.
var defaultNTP = []string{"pool.ntp.org"}

// keepTime is what keeps the time of day, with the last one known.
func (b *box) keepTime(saved time.Time) *clock.Keeper {
	return &clock.Keeper{
		Machine: b.m.Clock(), Built: b.Built, Saved: saved, Changed: b.network.asked, Log: b.log,
		Servers: func() []string {
			if len(b.site.NTP) > 0 {
				return b.site.NTP
			}
			if told := b.network.timeServers(); len(told) > 0 {
				return told
			}
			return defaultNTP
		},
	}
}

// firstSave comes soon, since servers of the time may just have told it.
const firstSave = 30 * time.Second

// saveTime saves the time of day until ctx is done, and then once more.
func (b *box) saveTime(ctx context.Context) {
	ticker := time.NewTicker(firstSave)
	defer ticker.Stop()
	for told := false; ; {
		select {
		case <-ctx.Done():
			b.try("time not saved", clock.Save(b.places.state, b.m.Clock().Now()))
			return
		case <-ticker.C:
			ticker.Reset(clock.SaveEvery)
		}
		if err := clock.Save(b.places.state, b.m.Clock().Now()); err != nil && !told {
			told = true
			b.log.Error("time not saved", "err", err)
		}
	}
}
