"""Given names, surnames, nicknames and spelling variants of people in Britain, so that invented people look real.

Compiled from general knowledge and ordered roughly from common to rare; nobody in particular is meant. Each community
keeps its own given names and surnames, because frequencies only look right when the two go together.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

FEMALE: Final = "F"
MALE: Final = "M"


def _variants(lines: str) -> Mapping[str, tuple[str, ...]]:
    """Each name of a line to the other names of that line."""
    groups = [line.split() for line in lines.strip().splitlines()]
    table: dict[str, tuple[str, ...]] = {}
    for group in groups:
        for name in group:
            table[name] = table.get(name, ()) + tuple(other for other in group if other != name)
    return MappingProxyType(table)


# The most frequent given names of the general population, by first year of the decade of birth.
BRITISH_GIVEN_NAMES: Final[Mapping[tuple[str, int], str]] = MappingProxyType(
    {
        (FEMALE, 1930): """Margaret Jean Mary Joan Patricia Sheila Barbara Doreen June Shirley Dorothy Joyce Maureen
            Elizabeth Audrey Brenda Kathleen Sylvia Eileen Pamela Betty Beryl Ann Irene Marjorie Rita Jessie
            Winifred Edna Norma Rosemary Agnes Hazel Marion Nancy Iris Vera""",
        (FEMALE, 1940): """Margaret Patricia Christine Mary Jean Ann Susan Janet Maureen Barbara Valerie Carol
            Sandra Pauline Elizabeth Joan Pamela Jennifer Kathleen Anne Sheila Brenda Gillian Linda Jacqueline
            Dorothy Sylvia Rosemary Judith Marion Wendy Eileen Hazel Veronica Frances Josephine Rita Beryl""",
        (FEMALE, 1950): """Susan Linda Christine Margaret Carol Janet Patricia Jennifer Barbara Ann Sandra Elizabeth
            Pamela Pauline Jean Mary Jacqueline Anne Gillian Lynn Kathleen Maureen Sheila Valerie Marilyn Lesley
            Hilary Denise Catherine Diane Jane Julie Wendy Angela Judith Heather Marion Lynne""",
        (FEMALE, 1960): """Susan Julie Karen Jacqueline Deborah Tracey Jane Helen Diane Sharon Tracy Angela Sarah
            Alison Caroline Amanda Sandra Linda Catherine Elizabeth Carol Joanne Wendy Janet Dawn Christine Nicola
            Lesley Jennifer Lorraine Fiona Beverley Michelle Gillian Lynn Denise Maria Anne""",
        (FEMALE, 1970): """Sarah Claire Nicola Emma Lisa Joanne Michelle Helen Samantha Karen Amanda Rachel Louise
            Julie Clare Rebecca Sharon Victoria Caroline Susan Alison Catherine Elizabeth Deborah Donna Tracey
            Angela Jane Zoe Kerry Melanie Sally Kelly Andrea Paula Heather Ruth Tara""",
        (FEMALE, 1980): """Sarah Laura Gemma Emma Rebecca Claire Victoria Samantha Rachel Amy Jennifer Nicola Katie
            Lisa Kelly Natalie Louise Michelle Hayley Hannah Helen Charlotte Joanne Lucy Elizabeth Leanne Danielle
            Donna Katherine Clare Stephanie Stacey Lauren Jane Kerry Catherine Kimberley Naomi""",
        (FEMALE, 1990): """Rebecca Lauren Jessica Charlotte Hannah Sophie Amy Emily Laura Emma Chloe Sarah Lucy
            Katie Bethany Jade Megan Danielle Alice Rachel Samantha Stephanie Abigail Natasha Georgina Kirsty
            Victoria Holly Eleanor Shannon Jodie Natalie Olivia Leah Zoe Paige Kayleigh Georgia""",
        (
            FEMALE,
            2000,
        ): """Chloe Emily Megan Jessica Sophie Charlotte Hannah Lauren Olivia Lucy Ellie Katie Georgia Holly Amy
            Molly Grace Bethany Abigail Emma Mia Ella Leah Rebecca Jasmine Amelia Caitlin Daisy Eleanor Phoebe Ruby
            Millie Erin Niamh Freya Alice Poppy Isabelle""",
        (FEMALE, 2010): """Olivia Amelia Emily Isla Ava Jessica Poppy Isabella Sophie Lily Mia Evie Grace Ella Ruby
            Sophia Charlotte Freya Chloe Daisy Phoebe Alice Florence Sienna Evelyn Matilda Elsie Rosie Millie Willow
            Imogen Harriet Erin Maisie Eva Darcie Thea Esme""",
        (FEMALE, 2020): """Olivia Amelia Isla Ava Ivy Lily Freya Florence Willow Mia Rosie Sophia Grace Isabella
            Evie Daisy Sienna Elsie Poppy Ella Emily Millie Phoebe Matilda Maya Evelyn Harper Aria Luna Ada Bonnie
            Maeve Arabella Hallie Orla Margot Eliza Delilah""",
        (MALE, 1930): """John Peter William James Ronald Robert Kenneth George Derek Thomas David Raymond Brian
            Dennis Roy Alan Donald Eric Frank Arthur Norman Gordon Leonard Stanley Frederick Charles Harold Albert
            Douglas Edward Ernest Joseph Reginald Geoffrey Cyril Leslie Walter Jack""",
        (
            MALE,
            1940,
        ): """John David Michael Peter Robert Anthony Brian Alan William James Roger Richard Kenneth Roy Colin
            Christopher Keith Raymond Barry Malcolm Terence Derek Graham Thomas Ronald George Trevor Geoffrey
            Patrick Dennis Edward Clive Frank Gerald Leslie Norman Douglas Bernard""",
        (MALE, 1950): """David John Stephen Michael Peter Robert Paul Alan Christopher Richard Anthony Kevin Graham
            Keith Philip Ian Brian Colin Andrew Nigel Geoffrey William Barry Martin Malcolm James Trevor Roger
            Terence Raymond Kenneth Thomas Neil Timothy Steven Derek Clive Stuart""",
        (MALE, 1960): """David Paul Andrew Mark John Michael Stephen Ian Robert Richard Christopher Peter Simon
            Anthony Kevin Gary Steven Martin James Philip Alan Neil Nigel Timothy Colin Graham Jonathan Nicholas
            William Stuart Keith Adrian Brian Sean Jeremy Carl Wayne Darren""",
        (MALE, 1970): """Paul Mark David Andrew Richard Christopher James Simon Michael Matthew Stephen Lee John
            Robert Darren Daniel Steven Jason Nicholas Jonathan Ian Neil Peter Stuart Anthony Martin Kevin Craig
            Philip Gary Scott Wayne Timothy Benjamin Adam Dean Justin Carl""",
        (MALE, 1980): """Christopher James David Daniel Michael Matthew Andrew Richard Paul Mark Thomas Adam Robert
            John Lee Benjamin Steven Jonathan Craig Stephen Simon Nicholas Peter Anthony Alexander Gary Ian Ryan
            Darren Stuart Joseph Samuel Luke Scott Gareth Kevin Philip Ashley""",
        (MALE, 1990): """Thomas James Daniel Jack Matthew Ryan Joshua Luke Samuel Jordan Adam Michael Alexander
            Christopher Benjamin Joseph Liam Jake William Andrew George Lewis Oliver David Robert Jamie Nathan
            Connor Jonathan Harry Callum Aaron Ashley Bradley Jacob Kieran Scott Sam""",
        (MALE, 2000): """Jack Thomas Joshua James Daniel Harry Samuel Joseph Matthew Callum Luke William Lewis
            Oliver Ryan Benjamin George Liam Jordan Adam Alexander Jake Connor Cameron Nathan Kieran Jamie Jacob
            Michael Ben Ethan Charlie Bradley Brandon Aaron Max Dylan Kyle""",
        (MALE, 2010): """Oliver Jack Harry Jacob Charlie Thomas George James William Oscar Alfie Noah Joshua Leo
            Henry Archie Ethan Joseph Samuel Freddie Logan Max Theo Alexander Lucas Daniel Mason Isaac Edward
            Benjamin Harrison Toby Finley Sebastian Dylan Zachary Riley Elijah""",
        (MALE, 2020): """Noah Oliver George Arthur Leo Harry Oscar Archie Henry Theodore Freddie Jack Charlie Theo
            Alfie Jacob Thomas Finley Arlo William Lucas Roman Tommy Isaac Teddy Alexander Luca Edward James Joshua
            Albie Elijah Max Reuben Rory Otis Hugo Grayson""",
    }
)

# Names found in every generation, each of them seldom.
TIMELESS_GIVEN_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        FEMALE: """Rose Martha Esther Miriam Judith Lydia Beatrice Clara Edith Cecilia Constance Cordelia Ursula
            Winifred Adele Agatha Annabel Antonia Araminta Bridget Bronwen Carys Catriona Celia Charity Cressida
            Davina Delia Diana Dinah Eilidh Eirlys Elaine Elspeth Emmeline Enid Eunice Eve Felicity Flora Genevieve
            Georgette Ginny Glenys Gwen Gwyneth Helena Henrietta Hermione Hester Honor Ingrid Isobel Ishbel Jemima
            Joanna Josie Juliet Justine Kirstin Lavinia Leonora Lois Lorna Lucinda Mabel Madeleine Marcia Marguerite
            Marianne Mairi Maud Mavis Meredith Merle Mhairi Minnie Morag Morwenna Muriel Myfanwy Myra Nadine Nell
            Nerys Nora Olwen Ottilie Penelope Perpetua Petra Philippa Phyllis Primrose Prudence Rhiannon Rhona
            Roberta Rosalind Rowena Sabrina Selina Seonaid Sian Sioned Stella Susannah Tabitha Tamsin Theresa Una
            Verity Vivien Yvonne Zara""",
        MALE: """Abel Abraham Ainsley Alasdair Alban Aled Algernon Alistair Ambrose Angus Archibald Aubrey Austin
            Barnaby Bartholomew Basil Benedict Bertram Blair Bruno Bryn Caleb Callan Calvin Campbell Cecil Cedric
            Clarence Clement Clifford Crispin Cuthbert Dafydd Damian Darius Desmond Dominic Dougal Duncan Dylan
            Edgar Edmund Edwin Emlyn Emrys Euan Evan Ewan Fergus Finlay Fraser Gabriel Gavin Gideon Gilbert Giles
            Glyn Gregory Guy Gwilym Hamish Hector Howard Hubert Hugh Humphrey Huw Idris Ieuan Innes Isaiah Ivan Ivor
            Jasper Joel Jonah Julian Kelvin Kester Lachlan Lambert Laurence Leopold Lloyd Lorcan Lyndon Magnus
            Marcus Maurice Maxwell Melvyn Merlin Miles Mungo Murdo Murray Ninian Noel Orlando Osbert Oswald Owain
            Percival Piers Quentin Ralph Ranulph Rhys Roderick Roland Rowan Rufus Rupert Seamus Selwyn Silas Struan
            Tarquin Torquil Tristan Vaughan Vernon Victor Vincent Wilfred Winston""",
    }
)

COMMUNITY_SHARES: Final[Mapping[str, float]] = MappingProxyType(
    {
        "british": 0.805,
        "irish": 0.03,
        "pakistani_bangladeshi": 0.05,
        "hindu": 0.02,
        "sikh": 0.012,
        "west_african": 0.022,
        "polish": 0.018,
        "romanian": 0.009,
        "middle_eastern": 0.014,
        "chinese": 0.01,
        "southern_european": 0.01,
    }
)

COMMUNITY_GIVEN_NAMES: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        (
            FEMALE,
            "irish",
        ): """Mary Margaret Bridget Catherine Aoife Niamh Sinead Ciara Roisin Siobhan Orla Grainne Deirdre Maeve
            Caoimhe Aisling Eimear Una Nuala Bernadette Philomena Noreen Clodagh Saoirse Fionnuala Oonagh""",
        (
            MALE,
            "irish",
        ): """Patrick Michael Sean John James Liam Conor Declan Brendan Kevin Eoin Niall Padraig Cormac Cathal
            Fergal Oisin Cian Ciaran Darragh Eamon Finbar Colm Ruairi Donal Gerard Aidan""",
        (
            FEMALE,
            "pakistani_bangladeshi",
        ): """Fatima Aisha Zainab Maryam Khadija Nasreen Shazia Rukhsana Samina Saima Farzana Amina Hafsa Sana Iqra
            Zara Nazia Parveen Rubina Shabana Yasmin Bushra Halima Inaya Aaliyah Safiya Tahira Robina Nusrat Mehwish
            Sadia Salma Rabia Ayesha Shahida Nadia Rahima Sultana""",
        (
            MALE,
            "pakistani_bangladeshi",
        ): """Mohammed Muhammad Ali Ahmed Abdul Imran Usman Hassan Hamza Ibrahim Yusuf Omar Bilal Tariq Asif Kashif
            Nadeem Shahid Zahid Khalid Rashid Adeel Faisal Waqas Junaid Saqib Amir Arif Javed Naveed Zubair Haroon
            Ismail Kamran Rizwan Shakeel Tahir Mohammad Mahmood Aslam Iqbal""",
        (
            FEMALE,
            "hindu",
        ): """Priya Anjali Pooja Nisha Kavita Meera Neha Sunita Anita Rekha Hansa Jyoti Bhavna Hetal Nita Kiran Asha
            Lata Deepa Divya Kavya Anaya Diya Riya Shreya Lakshmi Radha Sangita Usha Trupti""",
        (MALE, "hindu"): """Raj Amit Sanjay Rajesh Vijay Anil Suresh Ramesh Dipak Nilesh Hitesh Jayesh Bhavesh
            Kamlesh Mahesh Rakesh Rohan Arjun Krishna Aarav Dev Nikhil Vikram Ashok Kirit Mukesh Pradip Chetan Sunil
            Ketan""",
        (
            FEMALE,
            "sikh",
        ): """Jaspreet Harpreet Manpreet Simran Gurpreet Kiran Baljit Sukhwinder Jasvinder Balwinder Kulwinder
            Amarjit Surinder Rajinder Navdeep Ravinder Harjit Paramjit Amrit Jasleen Gurleen Prabhjot""",
        (
            MALE,
            "sikh",
        ): """Harpreet Gurpreet Jaspal Balbir Gurdeep Manjit Sukhdev Jagdeep Amandeep Harjinder Ranjit Jasbir
            Kuldeep Satnam Inderjit Mandeep Parminder Hardeep Arjan Jaskaran Sandeep Ravinder Avtar Daljit""",
        (
            FEMALE,
            "west_african",
        ): """Blessing Grace Abena Ama Chioma Ngozi Folake Funmilayo Esther Mary Comfort Akosua Yaa Adaeze Temitope
            Bukola Titilayo Efua Ifeoma Nkechi Patience Mercy Joy Precious Chidinma Adwoa Yetunde Oluwaseun Ayomide
            Simisola""",
        (MALE, "west_african"): """Emmanuel Samuel Daniel David Kwame Kofi Chukwuemeka Oluwaseun Tunde Babatunde
            Kwabena Yaw Ikenna Chidi Obinna Femi Segun Joseph Michael Ebenezer Nnamdi Uchenna Kwaku Kojo Adebayo
            Olumide Temitope Isaac Ayodele Damilola""",
        (
            FEMALE,
            "polish",
        ): """Anna Katarzyna Agnieszka Magdalena Monika Joanna Ewa Malgorzata Karolina Aleksandra Zofia Julia Maja
            Hanna Natalia Beata Dorota Iwona Justyna Kinga Patrycja Weronika Paulina Renata""",
        (
            MALE,
            "polish",
        ): """Piotr Krzysztof Tomasz Pawel Marcin Michal Jakub Adam Lukasz Andrzej Grzegorz Mateusz Szymon Filip
            Kacper Wojciech Marek Dariusz Rafal Kamil Dawid Bartosz Maciej Sebastian Antoni""",
        (FEMALE, "romanian"): """Maria Elena Andreea Ioana Ana Mihaela Cristina Alexandra Gabriela Daniela Roxana
            Simona Alina Bianca Larisa Florentina Raluca Denisa Sofia Nicoleta""",
        (
            MALE,
            "romanian",
        ): """Andrei Alexandru Ionut Mihai Gheorghe Florin Marian Adrian Cristian Vasile Constantin Bogdan Razvan
            Stefan Gabriel Catalin Marius Nicolae Luca Matei Vlad""",
        (
            FEMALE,
            "middle_eastern",
        ): """Fatma Zeynep Leyla Amira Hodan Ayan Fadumo Ifrah Nour Maryam Layla Noor Sahra Hawa Khadra Emine Elif
            Ayse Rana Dina Hanan Huda Zahra Shirin Parisa Nasrin""",
        (
            MALE,
            "middle_eastern",
        ): """Mohamed Ahmed Mehmet Mustafa Abdi Hassan Hussein Omar Ali Yusuf Abdullahi Khalid Emre Murat Karim
            Tarek Samir Reza Mehdi Ibrahim Mahad Liban Faisal Hamid Osman Rami""",
        (FEMALE, "chinese"): """Mei Ling Li Yan Xin Wei Hui Jing Yi Ying Fang Lily Grace Amy Wai Siu Yuen Jessica
            Vivian Michelle Ka Lai Xiu Hong""",
        (MALE, "chinese"): """Wei Jun Ming Jian Hao Kevin Jason Kai Chun Wing Ho Tsz Yu Lei Feng Peter David Raymond
            Chi Kin Man Tao Bo Zhi""",
        (
            FEMALE,
            "southern_european",
        ): """Maria Ana Sofia Giulia Francesca Chiara Carla Lucia Paula Marta Ines Beatriz Catarina Elena Valentina
            Eleni Despina Carmen Rosa Laura Filipa Raquel""",
        (
            MALE,
            "southern_european",
        ): """Jose Antonio Marco Giovanni Carlos Luis Joao Pedro Andreas Giorgos Nikolaos Alessandro Francesco
            Miguel Paulo Javier Diogo Matteo Rui Tiago Costas Stefano""",
    }
)

COMMUNITY_SURNAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "british": """Smith Jones Williams Taylor Brown Davies Evans Wilson Thomas Johnson Roberts Robinson Thompson
            Wright Walker White Edwards Hughes Green Hall Lewis Harris Clarke Jackson Wood Turner Martin Cooper Hill
            Ward Morris Moore Clark Lee King Baker Harrison Morgan Allen James Scott Phillips Watson Davis Parker
            Price Bennett Young Griffiths Mitchell Kelly Cook Carter Richardson Bailey Collins Bell Shaw Murphy
            Miller Cox Richards Marshall Anderson Simpson Ellis Adams Webb Foster Rogers Gray Mason Hunt Palmer
            Campbell Mills Holmes Powell Stevens Knight Murray Russell Chapman Matthews Barnes Stewart Graham Reid
            Pearson Butler Barker Fisher Dixon Fletcher Harvey Howard Andrews Reynolds Lloyd Ford Ross Hart West Day
            Fox Henderson Payne Elliott Brooks Walsh Spencer Lawrence Nicholson Cole Stone Jenkins Atkinson
            Robertson Dawson Burton Bradley Gibson Perry Pearce Watts Hudson Cunningham Wells Armstrong Burns Gordon
            Hamilton Newman Owen Rose Woods Rees Williamson Austin Duncan Francis Jordan Ball Berry Warren Riley
            Hawkins Sutton Harper Jennings Carr Webster Freeman Sharp Crawford Hunter Lowe Osborne Ferguson Morrison
            Kerr Nash Gardner Cross Hancock Poole Johnston Lane Wallace Dean May Gibbs Peters Barrett Reed Woodward
            Moss Lynch Fraser Holland Chambers Willis Coleman Grant Bird Hayes Rowe Bates Douglas Stephens Doyle
            Byrne Sanders Hewitt Potter Read Nicholls Bryant Barber Sullivan Stephenson Walton Booth Parsons Hopkins
            Norris Slater Steele Wheeler Parry Baxter Cameron Thomson Thornton Briggs Blake Gilbert Bull Griffin
            Benson Davidson Wade Hartley Goodwin Pritchard Cartwright Wilkinson Wilkins Hodgson Hutchinson Preston
            Akhurst Humphreys Savage Bishop Bowen Page Cooke Kennedy Hobbs Clayton French Long Ryan Todd Davison
            Banks Barton Buckley Chadwick Crossley Dyer Field Frost Garner Gough Greenwood Haigh Heath Hodges Holt
            Horton Houghton Howells Hurst Ingram Jarvis Kay Kemp Kent Kirk Lamb Lambert Leach Lister Little Lord
            Lucas Marsden Maxwell McCarthy McDonald McKenzie Middleton Miles Naylor Newton Nixon Norman Norton
            Oliver Patterson Peacock Pickering Pollard Pope Porter Pratt Pugh Ramsay Randall Rhodes Rowley Schofield
            Sharpe Sheppard Short Simmons Sims Skinner Stevenson Stokes Summers Sykes Talbot Tucker Turnbull Vaughan
            Vincent Wainwright Waters Weston Whitehead Whittaker Wilcox Winter Woodhouse Wyatt Yates Begg Sinclair
            Buchanan Boyd Paterson Muir MacLeod MacKay Sutherland Munro Milne Rennie Drummond Innes""",
        "irish": """Murphy Kelly Sullivan Walsh Ryan Doyle Byrne McCarthy Gallagher Doherty Kennedy Lynch Murray
            Quinn Moore McLaughlin Connolly Daly Connell Wilson Dunne Brennan Burke Collins Clarke Hughes Farrell
            Fitzgerald Brown Martin Maguire Nolan Flynn Thompson Callaghan Duffy Mahony Boyle Healy Shea White
            Sweeney Hayes Kavanagh Power McGrath Moran Brady Stewart Casey Foley Fitzpatrick Leary McDonnell
            MacMahon Donnelly Regan Donovan Burns Flanagan Mullan Kane Robinson Cunningham Griffin Kenny Sheehan
            Ward Whelan Lyons Reid Graham Higgins Cullen Keane King Maher McKenna Bell Scott Hogan Keeffe Magee
            McNamara McDonald McDermott Moloney Rourke Buckley Dwyer""",
        "pakistani_bangladeshi": """Khan Ahmed Hussain Begum Ali Akhtar Bibi Mahmood Iqbal Malik Shah Mohammed
            Rahman Islam Chowdhury Miah Uddin Hussein Raja Butt Mirza Qureshi Sheikh Siddiqui Anwar Aziz Bashir
            Hanif Karim Latif Mahmud Nawaz Parveen Rafiq Rashid Saleem Sarwar Shabbir Sultana Tariq Yaqub Yousaf
            Zaman Hassan Kausar Khatun Aslam Ashraf Javed Riaz Sharif Choudhury Nazir Haque Alam Kabir Hoque Ullah
            Chaudhry Dar Hayat""",
        "hindu": """Patel Shah Desai Mistry Sharma Kumar Gupta Mehta Joshi Parmar Chauhan Solanki Rana Bhatt Modi
            Lad Vyas Trivedi Pandya Thakkar Raval Gandhi Amin Naik Rao Reddy Nair Iyer Menon Chopra Kapoor Malhotra
            Verma Singh Agarwal Jain Pillai Panchal Tailor Sheth Vaghela Popat""",
        "sikh": """Singh Kaur Gill Sandhu Dhillon Sidhu Dhaliwal Grewal Johal Bains Atwal Mann Sahota Virk Randhawa
            Bhogal Uppal Sohal Chahal Hayer Rai Purewal Basra Sangha Samra Bhullar Matharu Lall Panesar Deol""",
        "west_african": """Mensah Owusu Boateng Okafor Adeyemi Okoro Asante Osei Adebayo Appiah Agyemang Eze Nwosu
            Ogunleye Okeke Balogun Afolabi Amoah Acheampong Ofori Darko Antwi Adjei Addo Oduya Adewale Oyelaran
            Akintola Ibrahim Bello Sesay Kamara Koroma Bangura Jalloh Okonkwo Nwankwo Obi Chukwu Uche Danso Frimpong
            Sarpong Olawale Ojo Salami Lawal Yeboah Quaye Tetteh Opoku Gyamfi""",
        "polish": """Nowak Kowalski Wisniewski Wojcik Kowalczyk Kaminski Lewandowski Zielinski Szymanski Wozniak
            Dabrowski Kozlowski Jankowski Mazur Kwiatkowski Krawczyk Kaczmarek Piotrowski Grabowski Zajac Pawlowski
            Michalski Krol Wieczorek Jablonski Wrobel Nowakowski Majewski Olszewski Stepien Malinowski Jaworski
            Adamczyk Dudek Nowicki Pawlak Gorski Witkowski Walczak Sikora Baran Rutkowski Michalak Szewczyk""",
        "romanian": """Popa Popescu Ionescu Radu Dumitru Stan Stoica Gheorghe Matei Ciobanu Rusu Munteanu Constantin
            Marin Lazar Serban Dinu Barbu Florea Tudor Dragomir Nistor Ungureanu Moldovan Diaconu Stanciu Toma Balan
            Voicu Lungu Petrov Ivanova Dimitrov Georgiev""",
        "middle_eastern": """Mohamed Ali Ahmed Hassan Yilmaz Kaya Demir Abdi Hussein Omar Ibrahim Osman Farah
            Warsame Jama Aden Yusuf Hashi Celik Sahin Yildiz Aydin Ozturk Arslan Karimi Ahmadi Hosseini Rahimi
            Al-Hassan Mansour Haddad Nasser Saleh Said Khalil Aziz Noor Sharif Elmi Duale Gedi Mahamud Dogan Kilic""",
        "chinese": """Wong Chan Chen Li Wang Lee Zhang Liu Cheung Lam Ng Ho Leung Yang Huang Lau Tang Yip Chow Wu
            Zhou Xu Sun Ma Zhu Lin Cheng Tsang Kwok Yuen Fung Mak Choi Lai Chung Siu Tse Au Hui Poon""",
        "southern_european": """Silva Santos Pereira Ferreira Rossi Russo Costa Fernandes Garcia Rodrigues Martins
            Oliveira Esposito Bianchi Romano Ferrari Gonzalez Fernandez Lopez Sousa Gomes Rodriguez Georgiou Andreou
            Christou Ioannou Papadopoulos Charalambous Da-Silva Almeida Carvalho Ribeiro Pinto Conti Greco Bruno
            Marino Sanchez Martinez Perez Teixeira Correia""",
    }
)

# Old English place and occupation elements: together they give the long tail of rare British surnames.
SURNAME_BEGINNINGS: Final = """Ack Ald Alder Amble Ap Ark Ash Ask Ayl Bam Bar Beck Bed Ben Bex Bil Bir Blake Blen
    Brad Bram Bran Brere Brock Brom Buck Bul Bur Cal Can Carl Cat Chat Chil Chol Clap Cleve Clif Col Cran Craw Crom
    Cul Dal Dar Del Den Dray Dud Dun East Eccle Eger El Ever Fair Fal Farn Fen Fern Fil Flax Gar Gat Gil Glad Gold
    Gran Green Grim Had Hal Ham Han Harg Hark Hather Haw Haze Heb Hep Hether High Hind Hol Horn Hox Hun Ing Kel Ken
    Kim Kings Lang Lath Led Lin Lock Long Lud Maple Mar Mel Mid Mil Mor New Nor Oak Ock Old Or Ox Pad Pem Pil Pink
    Pres Rad Ram Raven Red Rock Rother Rush Sal Sand Sax Sed Shel Ship Sher Sil Skel Stan Stap Stock Stain
    Strat Sun Swin Tad Tat Thorn Til Tod Tre Tun Up Wad Wal Wan War Wed Wen Whit Wick Wil Win Wool Wor Wrag Wy
    Yar""".split()  # noqa: SIM905 - one name a line would take hundreds of lines
SURNAME_ENDINGS: Final = """ley ton ford ham well worth field bury wood man by combe croft den don shaw stone
    thwaite thorpe wick ridge burn borough brook bridge dale hurst land mere more over sall stead ward way""".split()  # noqa: SIM905 - as above
SURNAME_FATHERS: Final = """Adam Aitken Alasdair Allister Ander Arthur Aulay Bain Brian Bride Call Callum Cann
    Carron Clean Cormack Corquodale Crae Cready Crorie Cullagh Cusker Daid Dade Dermid Diarmid Dougall Dowall
    Eachern Elroy Evoy Ewan Fadyen Fadden Farlane Garry Gill Gillivray Glashan Gowan Gregor Guire Hardy Hugh Ilroy
    Ilwraith Innes Intosh Intyre Ivor Kay Kechnie Kellar Kendrick Kerrow Killop Kinnon Lachlan Laren Lean Lellan
    Leish Manus Master Millan Murdo Nab Nally Naught Nee Neil Nicol Niven Phail Phee Quarrie Queen Rae Ritchie Robb
    Shane Sorley Swain Taggart Tavish Vicar Vitie Whirter William""".split()  # noqa: SIM905 - as above

NICKNAMES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        line.split()[0]: tuple(line.split()[1:])
        for line in """
Abigail Abi Abbie
Alexander Alex Sandy
Alexandra Alex Sasha
Alfred Alf Fred
Amanda Mandy
Andrew Andy Drew
Angela Angie
Anthony Tony
Archibald Archie
Arthur Art
Barbara Barb Babs
Bartholomew Bart
Benjamin Ben
Bernard Bernie
Bethany Beth
Bradley Brad
Catherine Cath Cathy Kate
Charles Charlie Chas
Charlotte Lottie Charlie
Christine Chris Chrissie
Christopher Chris
Clifford Cliff
Daniel Dan Danny
Danielle Dani
David Dave
Deborah Debbie Deb
Dennis Den
Dominic Dom
Donald Don
Dorothy Dot Dottie
Douglas Doug
Edward Ed Eddie Ted
Eleanor Ellie Nell
Elizabeth Liz Beth Betty Lizzie
Emily Em
Frances Fran
Frederick Fred
Gabriel Gabe
Geoffrey Geoff
George Georgie
Gerald Gerry
Gregory Greg
Gillian Gill
Hannah Han
Harold Harry
Harriet Hattie
Henry Harry
Isabella Bella Izzy
Jacob Jake
Jacqueline Jackie
James Jim Jamie Jimmy
Janet Jan
Jennifer Jenny Jen
Jessica Jess
Joanna Jo
Joanne Jo
John Jack Johnny
Jonathan Jon Jonny
Joseph Joe
Joshua Josh
Judith Judy
Katherine Kath Kate Katie
Kathleen Kath Kathy
Kenneth Ken
Kevin Kev
Laurence Larry Laurie
Leonard Len
Leslie Les
Margaret Maggie Peggy Meg
Martin Marty
Matthew Matt
Maureen Mo
Maxwell Max
Megan Meg
Michael Mike Mick Mickey
Mohammed Mo
Muhammad Mo
Natalie Nat
Natasha Tasha
Nathan Nate
Nicholas Nick
Nicola Nicky Nic
Oliver Ollie
Olivia Liv Livvy
Pamela Pam
Patricia Pat Trish
Patrick Pat Paddy
Penelope Penny
Peter Pete
Philip Phil
Philippa Pippa
Raymond Ray
Rebecca Becky Becca
Richard Rick Dick Richie
Robert Bob Rob Bobby
Ronald Ron
Rosemary Rose
Samantha Sam
Samuel Sam
Sandra Sandy
Sebastian Seb
Sophie Soph
Stephanie Steph
Stephen Steve
Steven Steve
Stanley Stan
Stuart Stu
Susan Sue Susie
Terence Terry
Theodore Theo Ted
Theresa Tess Terri
Thomas Tom Tommy
Timothy Tim
Valerie Val
Veronica Ronnie
Victoria Vicky Tori
Vincent Vince
Walter Wally
William Bill Will Billy
Winifred Winnie
Zachary Zac
""".strip().splitlines()
    }
)

SPELLINGS: Final = _variants("""
Aaron Arron
Aisha Ayesha Aysha
Alan Allan Allen
Alasdair Alistair Alastair
Alison Allison
Amelia Emelia
Ann Anne
Bethany Bethanie
Beverley Beverly
Brian Bryan
Bridget Brigid
Caitlin Kaitlyn
Callum Calum
Carol Carole
Catherine Katherine Kathryn Catharine
Chloe Khloe
Claire Clare
Connor Conor
Darren Daren
Debbie Debby
Deborah Debra
Dennis Denis
Diane Dianne
Eleanor Elinor
Elizabeth Elisabeth
Emily Emilie
Fatima Fatema
Finlay Finley
Frances Francis
Geoffrey Jeffrey
Georgina Georgena
Gillian Jillian
Graham Graeme
Hannah Hanna
Harriet Harriett
Hayley Hailey
Helen Helena
Hussain Hussein
Ian Iain
Isabelle Isabel Isobel
Isla Ila
Jacqueline Jaqueline
Jamie Jaime
Jodie Jody
Jon John
Jonathan Jonathon
Karen Karin
Kayleigh Kayley
Kelly Kelley
Kieran Kieron
Laurence Lawrence
Leanne Lianne
Lesley Leslie
Lewis Louis
Lily Lilly
Louise Louisa
Lucy Lucie
Lynn Lynne
Marion Marian
Mark Marc
Maryam Mariam
Mathew Matthew
Megan Meghan
Michelle Michele
Mohammed Muhammad Mohamed Mohammad
Natalie Nathalie
Niamh Neve
Nicholas Nicolas
Nicola Nichola
Niall Neil
Omar Umar
Phillip Philip
Rachel Rachael
Rebecca Rebekah
Rosie Rosy
Roisin Rosheen
Sarah Sara
Sean Shaun Shawn
Sheila Shelagh
Shirley Shirly
Sian Shan
Sofia Sophia
Stephen Steven
Stuart Stewart
Susannah Susanna
Teresa Theresa
Thomas Tomas
Tracey Tracy
Usman Osman
Yasmin Yasmine
Yusuf Yousef
Zainab Zaynab
Zoe Zoey
Ahmed Ahmad
Akhtar Akhter
Anderson Andersen
Atkinson Atkins
Bailey Bayley
Baker Backer
Begum Begom
Bennett Bennet
Brooks Brookes
Brown Browne
Burns Byrne
Carr Kerr
Chowdhury Choudhury Chaudhry
Clark Clarke
Cohen Coen
Cook Cooke
Davies Davis
Davison Davidson
Dixon Dickson
Doherty Docherty
Edwards Edward
Elliott Elliot
Evans Evens
Ford Forde
Gallagher Gallacher
Gardner Gardiner
Gill Gyll
Gray Grey
Green Greene
Griffiths Griffith
Hall Hal
Harrison Harison
Hayes Hays
Henderson Hendersen
Hewitt Hewett
Hughes Hews
Humphreys Humphries
Iqbal Eqbal
Jackson Jaxon
Jenkins Jenkin
Johnson Johnston Johnstone
Kaur Kour
Khan Kahn
Lewis Louis
Lloyd Loyd
MacDonald McDonald
MacKay McKay
MacLeod McLeod
Mahmood Mahmoud
Marshall Marshal
Matthews Mathews
McCarthy MacCarthy
McKenzie MacKenzie
Miller Millar
Moore More
Morris Maurice
Murphy Murphey
Nicholls Nichols
Nicholson Nicolson
Owen Owens
Palmer Palmar
Parry Parrie
Patterson Paterson
Pearce Pierce
Pearson Pierson
Peters Peter
Phillips Philips
Pritchard Prichard
Qureshi Kureshi
Read Reid Reed
Reynolds Renolds
Richards Richard
Robertson Robinson
Rogers Rodgers
Rowe Roe
Ryan Ryen
Shaw Shore
Sheppard Shepherd
Sharp Sharpe
Simpson Simson
Smith Smyth Smythe
Stephens Stevens
Stephenson Stevenson
Stewart Stuart
Taylor Tayler
Thompson Thomson
Turner Turnor
Vaughan Vaughn
Walsh Welsh
Watson Wattson
Webb Web
Whittaker Whitaker
White Whyte
Wilkinson Wilkenson
Wilson Willson
Wright Right
Wyatt Wiatt
Yates Yeates
""")
