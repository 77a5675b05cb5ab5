//! Words too common to say what a text is about: English, and the most frequent of German, French and Spanish.

/// Whether a word, in lower case, is one of them.
pub(super) fn is_stop_word(word: &str) -> bool {
    // One spelling of the apostrophe is enough for the list.
    let found = |word: &str| STOP_WORDS.binary_search(&word).is_ok();
    if word.contains('’') {
        found(&word.replace('’', "'"))
    } else {
        found(word)
    }
}

/// Sorted by bytes; words of one or two letters are never terms and so not listed.
#[rustfmt::skip]
const STOP_WORDS: &[&str] = &[
    "aber", "about", "above", "after", "again", "against", "ainsi", "algo", "algunos", "all", "alle", "allem",
    "allen", "aller", "alles", "almost", "alors", "als", "also", "although", "always", "among", "and", "ander",
    "andere", "anderen", "another", "ante", "antes", "any", "anyone", "anything", "après", "are", "aren't", "around",
    "así", "auch", "aucun", "auf", "aunque", "aus", "aussi", "autre", "autres", "aux", "avant", "avec", "avoir",
    "away", "back", "became", "because", "become", "been", "before", "bei", "beim", "being", "below", "between",
    "bien", "bin", "bis", "bist", "both", "but", "cada", "came", "can", "can't", "cannot", "car", "cela", "ces",
    "cet", "cette", "ceux", "chaque", "chez", "come", "comme", "como", "con", "contra", "could", "couldn't", "cual",
    "cuando", "damit", "dann", "dans", "das", "dass", "dein", "deine", "del", "dem", "den", "denn", "depuis", "der",
    "des", "desde", "dessen", "dich", "did", "didn't", "die", "dies", "diese", "diesem", "diesen", "dieser",
    "dieses", "dir", "doch", "does", "doesn't", "doing", "don't", "donde", "done", "dont", "dort", "down", "durante",
    "durch", "during", "each", "ein", "eine", "einem", "einen", "einer", "eines", "either", "ella", "ellas", "elle",
    "elles", "ellos", "else", "encore", "enough", "entre", "era", "eran", "esa", "esas", "ese", "eso", "esos", "est",
    "esta", "estas", "este", "esto", "estos", "está", "están", "etwas", "euch", "euer", "eux", "even", "ever",
    "every", "everyone", "everything", "fait", "few", "first", "for", "from", "fue", "fueron", "further", "für",
    "gave", "gegen", "get", "gets", "getting", "gibt", "give", "given", "goes", "going", "gone", "got", "habe",
    "haben", "había", "had", "hadn't", "han", "has", "hasn't", "hasta", "hat", "hatte", "hatten", "have", "haven't",
    "having", "hay", "he'd", "he'll", "he's", "her", "here", "here's", "hers", "herself", "hier", "him", "himself",
    "hinter", "his", "how", "how's", "however", "i'd", "i'll", "i'm", "i've", "ich", "ihm", "ihn", "ihnen", "ihr",
    "ihre", "ihrem", "ihren", "ihrer", "ils", "indeed", "indem", "ins", "instead", "into", "isn't", "ist", "it'd",
    "it'll", "it's", "its", "itself", "jede", "jedem", "jeden", "jeder", "jedes", "jetzt", "just", "kann", "keep",
    "kein", "keine", "keinen", "keiner", "kept", "know", "können", "könnte", "las", "last", "least", "les", "less",
    "let", "let's", "leur", "leurs", "like", "los", "lui", "machen", "made", "mais", "make", "makes", "making",
    "man", "manche", "many", "may", "maybe", "mehr", "mein", "meine", "mes", "mich", "mientras", "might", "mine",
    "mir", "mis", "mit", "moi", "moins", "mon", "more", "most", "much", "mucho", "muchos", "muss", "must", "mustn't",
    "muy", "myself", "más", "même", "müssen", "nach", "nada", "near", "need", "never", "new", "next", "nicht",
    "nichts", "nobody", "noch", "none", "nor", "nos", "nosotros", "not", "nothing", "notre", "nous", "now",
    "nuestra", "nuestro", "nun", "nur", "oder", "off", "often", "ohne", "once", "one", "only", "ont", "onto",
    "other", "others", "otra", "otras", "otro", "otros", "ought", "our", "ours", "ourselves", "out", "over", "own",
    "par", "para", "parce", "pas", "per", "perhaps", "pero", "peu", "peut", "plus", "poco", "por", "porque", "pour",
    "pourquoi", "pues", "puis", "put", "quand", "que", "quel", "quelle", "quelles", "quels", "qui", "quien", "quite",
    "quoi", "qué", "rather", "really", "said", "same", "sans", "saw", "say", "says", "sea", "see", "seem", "seems",
    "seen", "según", "sehr", "sein", "seine", "seinem", "seinen", "seiner", "seit", "ser", "sera", "ses", "several",
    "shall", "she", "she'd", "she'll", "she's", "should", "shouldn't", "sich", "sie", "siempre", "sin", "since",
    "sind", "sobre", "solche", "soll", "sollte", "solo", "some", "someone", "something", "sometimes", "son",
    "sondern", "sonst", "sont", "sous", "still", "such", "sur", "sus", "take", "taken", "también", "tan", "tanto",
    "tes", "than", "that", "that's", "the", "their", "theirs", "them", "themselves", "then", "there", "there's",
    "therefore", "these", "they", "they'd", "they'll", "they're", "they've", "thing", "things", "this", "those",
    "though", "through", "thus", "tiene", "tienen", "toda", "todas", "todo", "todos", "together", "toi", "ton",
    "too", "took", "tous", "tout", "toute", "toutes", "toward", "towards", "très", "tus", "two", "una", "unas",
    "und", "under", "une", "uno", "unos", "uns", "unser", "unsere", "unter", "until", "upon", "use", "used", "uses",
    "using", "usted", "vers", "very", "viel", "vom", "von", "vor", "vos", "vosotros", "votre", "vous", "war",
    "waren", "warum", "was", "wasn't", "way", "we'd", "we'll", "we're", "we've", "weil", "welche", "welcher", "well",
    "wenn", "went", "wer", "werden", "were", "weren't", "what", "what's", "when", "where", "whether", "which",
    "while", "who", "who's", "whoever", "whole", "whom", "whose", "why", "wie", "wieder", "will", "wir", "wird",
    "with", "within", "without", "won't", "would", "wouldn't", "wurde", "wurden", "würde", "yes", "yet", "you",
    "you'd", "you'll", "you're", "you've", "your", "yours", "yourself", "yourselves", "zum", "zur", "zwar",
    "zwischen", "étaient", "était", "être", "über",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_can_be_searched() {
        assert!(STOP_WORDS.is_sorted());
        assert!(
            is_stop_word("the")
                && is_stop_word("don't")
                && is_stop_word("don’t")
                && is_stop_word("für")
        );
        assert!(!is_stop_word("node"));
    }
}
