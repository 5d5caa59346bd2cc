package cli

import (
	"strconv"
	"strings"

	"lvm2fs/lvm2"
	"lvm2fs/scan"
)

// choiceOptions are flags of every command, for the user who knows better where an LV would be
// refused. Nothing of the kind is ever done without being asked for.
type choiceOptions struct {
	TrustLeg            []string `name:"trust-leg" sep:"none" placeholder:"VG/LV:N" help:"Read leg N, from 0, of a RAID or mirror as if it were in sync."`
	ThinMetadata        []string `name:"thin-metadata" sep:"none" placeholder:"VG/POOL=FILE" help:"Read the thin pool with the metadata in FILE, or with those of an LV: VG/POOL=lv:NAME."`
	ThinRoot            []string `name:"thin-root" sep:"none" placeholder:"VG/POOL=BLOCK" help:"Read the thin pool from a root that lvm2fs rescue found."`
	ThinRebuild         []string `name:"thin-rebuild" sep:"none" placeholder:"VG/POOL[=likely]" help:"Read what lvm2fs rescue --rebuild is certain of, or what is likely too."`
	IgnoreTransactionID []string `name:"ignore-transaction-id" sep:"none" placeholder:"VG/POOL" help:"Read the thin pool although its metadata is of another age than the VG's."`
	OriginOnly          []string `name:"origin-only" sep:"none" placeholder:"VG/LV" help:"Read the origin of a cached LV alone; what is only in the cache reads as it was before."`
}

// flaggedChoice is what a flag says of an LV.
type flaggedChoice struct {
	scan.Choice
	flag string
}

// choices are the flags in the words of package scan.
func (o choiceOptions) choices() (all []flaggedChoice, err error) {
	add := func(flag string, c scan.Choice) { all = append(all, flaggedChoice{c, flag}) }
	for _, arg := range o.TrustLeg {
		lv, value, err := cutChoice("--trust-leg", arg, ":")
		if err != nil {
			return nil, err
		}
		leg, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return nil, usagef("--trust-leg %s: %q is not the number of a leg", arg, value)
		}
		add("--trust-leg", scan.Choice{LV: lv, TrustLegs: []int{int(leg)}})
	}
	for _, arg := range o.ThinMetadata {
		pool, value, err := cutChoice("--thin-metadata", arg, "=")
		if err != nil {
			return nil, err
		}
		if name, ok := strings.CutPrefix(value, "lv:"); ok {
			add("--thin-metadata", scan.Choice{LV: pool, ThinMetadataLV: name})
		} else {
			add("--thin-metadata", scan.Choice{LV: pool, ThinMetadataFile: value})
		}
	}
	for _, arg := range o.ThinRoot {
		pool, value, err := cutChoice("--thin-root", arg, "=")
		if err != nil {
			return nil, err
		}
		root, err := strconv.ParseUint(value, 10, 64)
		if err != nil || root == 0 {
			return nil, usagef("--thin-root %s: %q is not the number of a block", arg, value)
		}
		add("--thin-root", scan.Choice{LV: pool, ThinRoot: root})
	}
	for _, arg := range o.ThinRebuild {
		pool, value, found := strings.Cut(arg, "=")
		choice := scan.Choice{LV: pool, ThinRebuild: lvm2.RebuildCertain}
		if value == "likely" {
			choice.ThinRebuild = lvm2.RebuildLikely
		} else if found {
			return nil, usagef("--thin-rebuild %s: not VG/POOL or VG/POOL=likely", arg)
		}
		add("--thin-rebuild", choice)
	}
	for _, arg := range o.IgnoreTransactionID {
		add("--ignore-transaction-id", scan.Choice{LV: arg, IgnoreTransactionID: true})
	}
	for _, arg := range o.OriginOnly {
		add("--origin-only", scan.Choice{LV: arg, OriginOnly: true})
	}
	return all, nil
}

// cutChoice splits VG/LV from what is chosen for it.
func cutChoice(flag, arg, sep string) (lv, value string, err error) {
	lv, value, ok := strings.Cut(arg, sep)
	if !ok || value == "" {
		return "", "", usagef("%s %s: not VG/LV%sVALUE", flag, arg, sep)
	}
	return lv, value, nil
}
