//! What the applet says, in the user's language. The texts are in `locales/`.

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use unic_langid::LanguageIdentifier;

/// The languages that there are; the first one is taken where the user reads none of them.
const LANGUAGES: [(&str, &str); 3] = [
    ("en", include_str!("../locales/en.ftl")),
    ("de", include_str!("../locales/de.ftl")),
    ("es", include_str!("../locales/es.ftl")),
];

/// The texts of one language.
pub(crate) struct Words(FluentBundle<FluentResource>);

impl Words {
    /// In the first of these languages that there is; each as `de-AT`.
    pub(crate) fn of(wanted: impl Iterator<Item = String>) -> Self {
        let language = |wanted: String| {
            let wanted = wanted.split('-').next().unwrap_or_default().to_ascii_lowercase();
            // A language that comes after English in the list is one that the user reads less well.
            LANGUAGES.into_iter().find(|(name, _)| *name == wanted)
        };
        let [default, ..] = LANGUAGES;
        let (name, texts) = wanted.into_iter().find_map(language).unwrap_or(default);
        // A text with a mistake in it is a failing test, and a missing text here.
        let texts = FluentResource::try_new(texts.to_owned()).unwrap_or_else(|(texts, _)| texts);
        let mut bundle = FluentBundle::new_concurrent(vec![name.parse::<LanguageIdentifier>().unwrap_or_default()]);
        bundle.add_resource_overriding(texts);
        Self(bundle)
    }

    /// A text without variables.
    pub(crate) fn say(&self, id: &str) -> String {
        self.fill(id, [])
    }

    /// A text with these variables. Each is kept apart from the text around it where its letters run the other way.
    pub(crate) fn fill<'a, const N: usize>(&self, id: &str, variables: [(&'a str, FluentValue<'a>); N]) -> String {
        let arguments = FluentArgs::from_iter(variables);
        let Some(pattern) = self.0.get_message(id).and_then(|message| message.value()) else { return id.to_owned() };
        self.0.format_pattern(pattern, Some(&arguments), &mut Vec::new()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The messages of a language, and the variables of each.
    fn messages(texts: &str) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut messages = BTreeMap::new();
        let mut id = "";
        for line in texts.lines().filter(|line| !line.starts_with('#')) {
            if !line.starts_with([' ', '}'])
                && let Some((name, _)) = line.split_once(" = ")
            {
                id = name;
                assert!(messages.insert(id, BTreeSet::new()).is_none(), "{id} is there twice");
            }
            let is_name = |one: char| one.is_alphanumeric();
            let variables = line.split('$').skip(1).map(|rest| rest.split(|one| !is_name(one)).next().unwrap());
            messages.entry(id).or_default().extend(variables);
        }
        messages.remove("");
        messages
    }

    #[test]
    fn no_language_misses_a_text_or_a_variable() {
        let [(_, english), others @ ..] = LANGUAGES;
        for (name, texts) in others {
            assert_eq!(messages(texts), messages(english), "{name}");
        }
    }

    #[test]
    fn every_text_is_used_and_every_text_that_is_used_is_there() {
        let mut code = String::new();
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            code.push_str(text.split("#[cfg(test)]\nmod tests").next().unwrap());
        }
        let [(_, english), ..] = LANGUAGES;
        let messages = messages(english);
        for id in messages.keys() {
            assert!(code.contains(&format!("\"{id}\"")), "{id} is not used");
        }
        for used in [".say(\"", ".fill(\""] {
            for id in code.split(used).skip(1).map(|rest| rest.split('"').next().unwrap()) {
                assert!(messages.contains_key(id), "{id} is not there");
            }
        }
    }

    #[test]
    fn every_text_of_every_language_can_be_said() {
        for (name, texts) in LANGUAGES {
            let words = Words::of([format!("{name}-XX")].into_iter());
            for (id, variables) in messages(texts) {
                for count in [0, 1, 2, 1_000_000] {
                    let arguments = variables.iter().map(|name| match *name {
                        "count" => (*name, FluentValue::from(count)),
                        name => (name, FluentValue::from("VALUE")),
                    });
                    let arguments = FluentArgs::from_iter(arguments);
                    let mut errors = Vec::new();
                    let pattern = words.0.get_message(id).unwrap().value().unwrap();
                    let said = words.0.format_pattern(pattern, Some(&arguments), &mut errors);
                    assert!(errors.is_empty() && !said.contains(['{', '$']), "{name}: {said}: {errors:?}");
                    let values = variables.iter().filter(|name| **name != "count").count();
                    assert_eq!(said.matches("VALUE").count(), values, "{name}: {said}");
                }
            }
        }
    }

    #[test]
    fn the_first_language_that_there_is_is_spoken() {
        let table: [(&[&str], &str); 6] = [
            (&["de-AT", "en"], "Einzelheiten"),
            (&["es-419"], "Detalles"),
            (&["fr-FR", "es"], "Detalles"),
            (&["en-GB", "de"], "Details"),
            (&["C"], "Details"),
            (&[], "Details"),
        ];
        for (wanted, expected) in table {
            let words = Words::of(wanted.iter().map(|one| (*one).to_owned()));
            assert_eq!(words.say("button-details"), expected, "{wanted:?}");
        }
    }
}
