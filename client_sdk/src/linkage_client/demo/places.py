"""Towns with their postcode areas, and the parts of street names, so that invented addresses hang together.

Towns carry a rough size in thousands of people, which sets how often they are drawn. Street names and house numbers
are invented, and a unit of a postcode is computed, so an address here is a real one only by accident.
"""

from typing import Final, NamedTuple


class Town(NamedTuple):
    """A post town: its postcode area, how many districts of that area it uses and its size in thousands."""

    name: str
    area: str
    districts: int
    size_thousands: int


TOWNS: Final = tuple(
    Town(name.replace("_", " "), area, int(districts), int(size))
    for name, area, districts, size in (
        entry.split()
        for entry in """
London E 18 900
London N 22 800
London NW 11 550
London SE 28 1000
London SW 20 900
London W 14 550
Croydon CR 9 390
Harrow HA 9 250
Ilford IG 11 280
Kingston_upon_Thames KT 9 180
Romford RM 14 240
Sutton SM 7 200
Twickenham TW 20 150
Uxbridge UB 11 180
Bromley BR 8 330
Enfield EN 9 330
Birmingham B 48 1140
Leeds LS 18 790
Sheffield S 14 580
Bradford BD 18 540
Liverpool L 38 490
Manchester M 25 550
Bristol BS 16 470
Leicester LE 9 360
Coventry CV 6 360
Nottingham NG 16 330
Newcastle_upon_Tyne NE 20 300
Sunderland SR 6 270
Hull HU 9 260
Plymouth PL 9 260
Stoke-on-Trent ST 11 255
Wolverhampton WV 14 260
Derby DE 24 255
Southampton SO 19 250
Portsmouth PO 9 215
Brighton BN 3 280
Luton LU 5 225
Reading RG 10 170
Northampton NN 7 225
Milton_Keynes MK 15 250
Peterborough PE 9 210
Norwich NR 8 190
Swindon SN 6 220
Bournemouth BH 11 195
Poole BH 17 150
Middlesbrough TS 9 140
Bolton BL 7 285
Blackpool FY 8 140
Blackburn BB 6 150
Preston PR 6 145
Stockport SK 9 290
Oldham OL 9 235
Rochdale OL 16 220
Wigan WN 6 320
Warrington WA 5 210
Chester CH 4 90
Birkenhead CH 49 320
Huddersfield HD 9 160
Halifax HX 7 90
Wakefield WF 9 340
Doncaster DN 12 310
Grimsby DN 37 88
Lincoln LN 6 100
York YO 32 200
Harrogate HG 5 75
Darlington DL 3 107
Durham DH 9 65
Carlisle CA 7 75
Lancaster LA 6 140
Ipswich IP 10 140
Colchester CO 9 190
Chelmsford CM 3 180
Southend-on-Sea SS 9 180
Cambridge CB 5 145
Bedford MK 45 180
St_Albans AL 10 148
Stevenage SG 7 88
Watford WD 25 100
Hemel_Hempstead HP 3 95
Slough SL 6 165
Guildford GU 7 145
Redhill RH 6 90
Tunbridge_Wells TN 4 118
Maidstone ME 20 175
Canterbury CT 6 165
Dartford DA 18 115
Oxford OX 7 160
Gloucester GL 4 130
Cheltenham GL 54 118
Worcester WR 9 103
Hereford HR 9 62
Shrewsbury SY 5 75
Telford TF 7 185
Dudley DY 14 320
Walsall WS 15 285
Bath BA 3 100
Taunton TA 9 67
Exeter EX 6 130
Torquay TQ 14 65
Truro TR 16 30
Salisbury SP 11 45
Dorchester DT 11 21
Cardiff CF 24 365
Newport NP 20 155
Swansea SA 9 245
Llandudno LL 58 62
Llandrindod_Wells LD 8 6
Glasgow G 53 635
Edinburgh EH 17 520
Aberdeen AB 25 200
Dundee DD 5 150
Inverness IV 3 65
Perth PH 2 47
Stirling FK 9 38
Kirkcaldy KY 5 50
Paisley PA 3 77
Kilmarnock KA 3 46
Motherwell ML 5 60
Dumfries DG 2 33
Galashiels TD 3 13
Belfast BT 17 345
""".strip().splitlines()
    )
)

STREET_BEGINNINGS: Final = """High Station Church Victoria Park Queens Kings Mill School London Green Manor West
    North South East New Grange Chapel Albert York Windsor Springfield George Stanley Clarence Alexandra Richmond
    Cambridge Oxford Lancaster Warwick Norfolk Suffolk Devonshire Bedford Carlton Clifton Montague Grosvenor
    Cavendish Wellington Nelson Trafalgar Waterloo Cromwell Gladstone Balmoral Sandringham Beech Oak Ash Elm Willow
    Cedar Poplar Chestnut Sycamore Hawthorn Holly Laurel Maple Rowan Birch Lime Larch Hazel Orchard Meadow Spring
    Brook River Bridge Ferry Harbour Castle Abbey Priory Vicarage Rectory Glebe Bishop Canterbury Durham Lincoln
    Salisbury Wells Chester Derby Leicester Nottingham Sheffield Bristol Bath Gloucester Hereford Worcester
    Shakespeare Milton Byron Tennyson Wordsworth Kipling Burns Shelley Keats Dryden Chaucer Darwin Newton Faraday
    Brunel Stephenson Telford Market Mount Hill Highfield Greenfield Fairfield Westfield Northfield Southfield
    Eastfield Broomfield Lower Upper Woodland Woodside Hillside Riverside Lakeside Parkside Moor Heath Common Forge
    Quarry Railway Canal Wharf Barn Farm Dairy Pound Well Pond Ford Cross Union Crown Regent Prince Princess
    Coronation Jubilee Duke Earl Marlborough Blenheim Salisbury Melbourne Palmerston Peel Russell Ashfield Ashley
    Barton Bramley Bury Coleman Dale Denham Eaton Fern Garth Hamilton Harcourt Haywood Ivy Kenilworth Kingsley
    Langley Linden Lodge Marsh Newlands Norton Parsonage Pembroke Portland Primrose Rosemary Rutland Seymour
    Stafford Swan Thornton Tudor Vernon Walton Whitehall Winchester Wood""".split()  # noqa: SIM905 - one a line would take hundreds of lines
STREET_ENDINGS: Final = """Road Street Avenue Close Drive Lane Way Crescent Court Gardens Place Grove Terrace Walk
    Rise View Mews Hill Square Green""".split()  # noqa: SIM905 - as above

# Letters that the two last places of a British postcode use.
POSTCODE_LETTERS: Final = "ABDEFGHJLNPQRSTUWXYZ"
