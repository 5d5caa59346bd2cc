package cli

// systemOptions are options that a system's mount(8) knows for every file system, by what is to be done about them.
type systemOptions struct {
	passed  []string // the system acts on them
	named   []string // of those, the ones with a value, without it
	dropped []string // they ask for what is so in any case
	refused map[string]string
}

// forEverySystem are the options that are taken everywhere, whatever the system does about them.
var forEverySystem = []string{"nodev", "nosuid", "noexec", "noatime", "sync", "dirsync"}

// opposites undo an option that came before.
var opposites = map[string]string{
	"dev": "nodev", "suid": "nosuid", "exec": "noexec", "atime": "noatime", "async": "sync", "nosync": "sync",
	"clusterr": "noclusterr", "clusterw": "noclusterw", "nounion": "union",
}

func systemOptionsOf(goos string) systemOptions {
	switch goos {
	case "freebsd":
		return freeBSDOptions()
	case "darwin":
		return systemOptions{
			passed: []string{"nodev", "nosuid", "noexec", "noatime", "automounted", "local", "nobrowse", "noappledouble", "noapplexattr"},
			named:  []string{"volname"},
			// The mount program does not know dirsync, and no directory is written to.
			dropped: []string{"dirsync", "sync", "force"},
		}
	}
	return systemOptions{passed: forEverySystem}
}

// freeBSDOptions: mount_fusefs refuses what it does not know. It knows MOPT_STDOPTS of mntopts(3): those that are passed
// here, and those that are refused.
func freeBSDOptions() systemOptions {
	const noSuch = "the files of LVs have no "
	return systemOptions{
		passed: []string{"nosuid", "noexec", "noatime", "noclusterr", "noclusterw", "union", "automounted"},
		// Only devfs(5) has devices, no directory is written to, we decide what is synced, and nothing can be forced.
		dropped: []string{
			"nodev", "dirsync", "sync", "nosync", "noasync", "force", "clusterr", "clusterw", "nounion", "noacls", "nonfsv4acls",
			"nomultilabel", "nosuiddir", "nouserquota", "nogroupquota", "noverify",
		},
		refused: map[string]string{
			"acls":       noSuch + "ACLs",
			"nfsv4acls":  noSuch + "ACLs",
			"multilabel": noSuch + "MAC labels",
			"suiddir":    "no file is made in these directories",
			"userquota":  noSuch + "quotas",
			"groupquota": noSuch + "quotas",
			"snapshot":   "this file system makes no snapshots; -o all shows those of the disk",
			"verify":     noSuch + "fingerprints to verify",
		},
	}
}
