//! Names and icons of applications, from their desktop files.

use std::fs;
use std::path::{Path, PathBuf};

use freedesktop_desktop_entry::{DesktopEntry, default_paths};

/// What its desktop file says of an application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Application {
    pub(crate) name: String,
    /// A name of the icon theme's, or a path.
    pub(crate) icon: Option<String>,
    /// The last part of the program that it starts.
    pub(crate) program: Option<String>,
}

/// Where desktop files are, and in which languages they are read.
pub(crate) struct Applications {
    folders: Vec<PathBuf>,
    languages: Vec<String>,
}

/// The longest desktop file that is read, in bytes; those of offices with hundreds of types and languages have 40 kB.
const MAX_FILE: u64 = 256 * 1024;

impl Applications {
    /// Those that the user's desktop has.
    pub(crate) fn of_desktop(languages: Vec<String>) -> Self {
        Self { folders: default_paths().collect(), languages }
    }

    /// The application with this id. A program chooses what id it has: no folder is left by it.
    pub(crate) fn find(&self, id: &str) -> Option<Application> {
        if id.is_empty() || id.starts_with('.') || id.contains(['/', '\0']) {
            return None;
        }
        // A snap is called by what starts it, `NAME` or `NAME.APP`, and its desktop file `NAME_APP`.
        let (snap, app) = id.split_once('.').unwrap_or((id, id));
        let names = [format!("{id}.desktop"), format!("{snap}_{app}.desktop")];
        let paths = names.iter().flat_map(|name| self.folders.iter().map(move |folder| folder.join(name)));
        paths.filter_map(|path| self.read(&path)).next()
    }

    fn read(&self, path: &Path) -> Option<Application> {
        let meta = fs::metadata(path).ok().filter(|meta| meta.is_file())?;
        if meta.len() > MAX_FILE {
            return None;
        }
        let entry = DesktopEntry::from_str(path, &fs::read_to_string(path).ok()?, Some(&self.languages)).ok()?;
        let name = entry.name(&self.languages)?.into_owned();
        let program = entry.parse_exec().ok().and_then(|words| Some(last_part(words.first()?).to_owned()));
        Some(Application { name, icon: entry.icon().map(str::to_owned), program })
    }
}

/// The last part of a path.
pub(crate) fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applications(files: &[(&str, &str)], languages: &[&str]) -> (tempfile::TempDir, Applications) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("applications")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let folders = vec![folder.path().join("nothing"), folder.path().join("applications")];
        let languages = languages.iter().map(|one| (*one).to_owned()).collect();
        (folder, Applications { folders, languages })
    }

    const FIREFOX: &str = "[Desktop Entry]\nType=Application\nName=Firefox\nName[de]=Feuerfuchs\nIcon=firefox\n\
                           Exec=/usr/lib/firefox/firefox %u\n[Desktop Action new]\nName=New window\nExec=x\n";

    #[test]
    fn an_application_is_what_its_file_says_in_the_users_language() {
        let files = [("applications/org.mozilla.firefox.desktop", FIREFOX), ("applications/snap_app.desktop", FIREFOX)];
        for (languages, name) in [(&["en"][..], "Firefox"), (&["de_AT"], "Feuerfuchs"), (&["fr", "de"], "Feuerfuchs")] {
            let (_folder, applications) = applications(&files, languages);
            let found = applications.find("org.mozilla.firefox").unwrap();
            assert_eq!(found.name, name);
            assert_eq!((found.icon.as_deref(), found.program.as_deref()), (Some("firefox"), Some("firefox")));
            assert!(applications.find("snap.app").is_some());
            assert!(applications.find("org.mozilla.thunderbird").is_none());
        }
    }

    #[test]
    fn an_id_leaves_no_folder_and_a_file_that_is_none_is_no_application() {
        let long = format!("{FIREFOX}{}", "#\n".repeat(200_000));
        let files = [
            ("outside.desktop", FIREFOX),
            ("applications/empty.desktop", ""),
            ("applications/garbage.desktop", "a]=[\n=\n[\n]["),
            ("applications/noname.desktop", "[Desktop Entry]\nIcon=x\n"),
            ("applications/long.desktop", &long),
        ];
        let (folder, applications) = applications(&files, &["en"]);
        fs::create_dir(folder.path().join("applications/folder.desktop")).unwrap();
        let outside = folder.path().join("outside");
        for id in [
            "../outside",
            outside.to_str().unwrap(),
            "",
            ".",
            "..",
            "empty",
            "garbage",
            "noname",
            "long",
            "folder",
            "a\0b",
        ] {
            assert_eq!(applications.find(id), None, "{id}");
        }
    }
}
