package configs

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// Export describes PEM files written for other programs, as
// DIRECTORY/NAME/certificate.crt and DIRECTORY/NAME/privatekey.key.
type Export struct {
	// Directory is where they are written, an absolute path. Required.
	Directory string `yaml:"directory"`
	// Names are those whose certificates are written, such as
	// "matrix.example.com". Required.
	Names []string `yaml:"names"`
	// Mode is that of the files, in octal and with quotes. Optional. Defaults to "0640".
	Mode string `yaml:"mode"`
	// Owner is that of the files, such as "991:991" or "turnserver:turnserver". Optional.
	// Defaults to whom vestibule runs as.
	Owner string `yaml:"owner"`

	Place Place `yaml:"-"`
}

func (e *Export) normalise() {
	for i := range e.Names {
		lower(&e.Names[i])
	}
}

var (
	modePattern  = regexp.MustCompile(`^0?[0-7]{3}$`)
	ownerPattern = regexp.MustCompile(`^([0-9]+|[a-z_][a-z0-9_-]*):([0-9]+|[a-z_][a-z0-9_-]*)$`)
)

// fileMode is the mode of the files, as a number.
func (e *Export) fileMode() fs.FileMode {
	mode, err := strconv.ParseUint(e.Mode, 8, 32)
	if err != nil {
		mode = 0o640
	}
	return fs.FileMode(mode)
}

func (e *Export) check(at spot) {
	if !at.require("directory") {
		at.key("directory").valid(e.Directory, func(directory string) (message, hint string) {
			if !filepath.IsAbs(directory) {
				return quote(directory) + " is not an absolute path", `begin it with "/"`
			}
			return "", ""
		})
	}
	if !at.require("names") && len(e.Names) == 0 {
		at.key("names").fail("is empty", "write the names whose certificates other programs read")
	}
	at.key("mode").valid(e.Mode, func(mode string) (message, hint string) {
		if !modePattern.MatchString(mode) {
			return quote(mode) + " is not a mode", `write "0640", with quotes`
		}
		return "", ""
	})
	if e.fileMode()&0o007 != 0 {
		at.key("mode").warn("private keys of this mode are open to every user of the machine", `write "0640" and an owner`)
	}
	at.key("owner").valid(e.Owner, func(owner string) (message, hint string) {
		if !ownerPattern.MatchString(owner) {
			return quote(owner) + " is not an owner", `write "user:group", or numbers such as "991:991"`
		}
		return "", ""
	})
}

// checkExport reports names that there is no certificate for.
func (c *Config) checkExport(at spot) {
	if c.Certificates.Export == nil {
		return
	}
	served := c.CertificateNames()
	for i, name := range c.Certificates.Export.Names {
		if slices.Contains(served, name) {
			continue
		}
		hint := "add it to certificates.extra_names"
		if meant := nearest(name, served); meant != "" {
			hint = "did you mean " + quote(meant) + "?"
		}
		at.key("names").index(i).fail("there is no certificate for "+quote(name), hint)
	}
}
